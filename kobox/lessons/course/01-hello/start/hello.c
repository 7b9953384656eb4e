#include <linux/module.h>

static int __init hello_init(void)
{
	/* Say hello here. */
	return 0;
}

static void __exit hello_exit(void)
{
	/* Say goodbye here. */
}

module_init(hello_init);
module_exit(hello_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Says hello");
