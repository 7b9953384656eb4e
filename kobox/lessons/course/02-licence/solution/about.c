#include <linux/module.h>

static int __init about_init(void)
{
	return 0;
}

static void __exit about_exit(void)
{
}

module_init(about_init);
module_exit(about_exit);

MODULE_LICENSE("GPL");
MODULE_AUTHOR("A. Reader");
MODULE_DESCRIPTION("A module with papers");
MODULE_VERSION("1.2");
