#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/module.h>

static int __init levels_init(void)
{
	pr_err("no device\n");
	pr_warn("slow path\n");
	pr_info("ready\n");
	return 0;
}

static void __exit levels_exit(void)
{
}

module_init(levels_init);
module_exit(levels_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Writes at three levels");
