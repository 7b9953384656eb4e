// SPDX-License-Identifier: GPL-2.0
/*
 * skeleton_user: uses what skeleton exports, so that has to be loaded first.
 * modprobe does it by itself, from the `depends` that modpost writes.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/init.h>
#include <linux/module.h>
#include <linux/version.h>

#include "skeleton.h"

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 13, 0)
MODULE_IMPORT_NS("SKELETON");
#else
MODULE_IMPORT_NS(SKELETON);
#endif

static int __init skeleton_user_init(void)
{
	int sum = skeleton_add(40, 2);

	pr_info("the sum is %d, call number %d\n", sum, skeleton_calls());
	return 0;
}

static void __exit skeleton_user_exit(void)
{
}

module_init(skeleton_user_init);
module_exit(skeleton_user_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Uses functions of another module");
