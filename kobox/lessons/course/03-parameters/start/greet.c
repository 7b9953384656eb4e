#include <linux/module.h>

static int __init greet_init(void)
{
	pr_info("Hello, world\n");
	return 0;
}

static void __exit greet_exit(void)
{
}

module_init(greet_init);
module_exit(greet_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Greets whom you say");
