// SPDX-License-Identifier: GPL-2.0
/* Mistakes on the paths that are taken when a call fails; `right=1` takes the same paths without them. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt
#include <linux/module.h>
#include <linux/slab.h>

static char *buffer;

static int __init unchecked_init(void)
{
	buffer = kmalloc(64, GFP_KERNEL);
#ifdef RIGHT
	if (!buffer)
		return -ENOMEM;
#endif
	buffer[8] = 1;
	return 0;
}

static void __exit unchecked_exit(void)
{
	kfree(buffer);
}

module_init(unchecked_init);
module_exit(unchecked_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Uses what kmalloc() returns without a look");
