#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/module.h>
#include <linux/workqueue.h>

static int __init later_init(void)
{
	pr_info("begun\n");
	return 0;
}

static void __exit later_exit(void)
{
}

module_init(later_init);
module_exit(later_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Does something later");
