// SPDX-License-Identifier: GPL-2.0
/* Uses what kbase exports. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt
#include <linux/module.h>

int kbase_fn(int value);
int kbase_gpl_fn(int value);

static int __init kuser_init(void)
{
	pr_info("kbase_fn(1) = %d, kbase_gpl_fn(21) = %d\n", kbase_fn(1), kbase_gpl_fn(21));
	return 0;
}

static void __exit kuser_exit(void)
{
}

module_init(kuser_init);
module_exit(kuser_exit);
MODULE_LICENSE("GPL");
