#include <linux/module.h>

int adder_add(int a, int b);

int adder_add(int a, int b)
{
	return a + b;
}

static int __init adder_init(void)
{
	return 0;
}

static void __exit adder_exit(void)
{
}

module_init(adder_init);
module_exit(adder_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Adds");
