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

MODULE_LICENSE("Proprietary");
