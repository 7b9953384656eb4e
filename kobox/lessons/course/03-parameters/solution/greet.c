#include <linux/module.h>

static char *whom = "world";
module_param(whom, charp, 0444);
MODULE_PARM_DESC(whom, "whom to greet");

static int times = 1;
module_param(times, int, 0644);
MODULE_PARM_DESC(times, "how often");

static int __init greet_init(void)
{
	int i;

	for (i = 0; i < times; i++)
		pr_info("Hello, %s\n", whom);
	return 0;
}

static void __exit greet_exit(void)
{
}

module_init(greet_init);
module_exit(greet_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Greets whom you say");
