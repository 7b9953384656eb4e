// SPDX-License-Identifier: GPL-2.0
/*
 * skeleton: says hello when it is loaded, and goodbye when it is unloaded.
 */
/* Every pr_info() and its like begin with the module's name. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/init.h>
#include <linux/module.h>
#include <linux/printk.h>

/*
 * Runs once, when the module is loaded. Zero means success; a negative errno
 * such as -ENODEV makes the kernel refuse the module. __init lets the kernel
 * free this code afterwards.
 */
static int __init skeleton_init(void)
{
	pr_info("hello\n");
	return 0;
}

/* Runs when the module is unloaded, and must undo all that init did. */
static void __exit skeleton_exit(void)
{
	pr_info("goodbye\n");
}

module_init(skeleton_init);
module_exit(skeleton_exit);

/* Without a licence the kernel is tainted and GPL-only symbols are refused. */
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Says hello and goodbye");
