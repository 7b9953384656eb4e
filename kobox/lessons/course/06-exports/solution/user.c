#include <linux/module.h>

int adder_add(int a, int b);

static int __init user_init(void)
{
	pr_info("2 + 3 = %d\n", adder_add(2, 3));
	return 0;
}

static void __exit user_exit(void)
{
}

module_init(user_init);
module_exit(user_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Has others add");
