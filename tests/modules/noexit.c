// SPDX-License-Identifier: GPL-2.0
/* A module without an exit function. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt
#include <linux/module.h>

static int __init noexit_init(void)
{
	pr_info("here to stay\n");
	return 0;
}

module_init(noexit_init);
MODULE_LICENSE("GPL");
