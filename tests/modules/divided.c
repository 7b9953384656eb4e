// SPDX-License-Identifier: GPL-2.0
/* Divides by a number that it was given, which may be 0. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt
#include <linux/module.h>

static int divisor;
module_param(divisor, int, 0444);

static int __init divided_init(void)
{
	pr_info("a part is %d\n", 1000 / divisor); /* bad */
	return 0;
}
module_init(divided_init);

static void __exit divided_exit(void)
{
}
module_exit(divided_exit);

MODULE_DESCRIPTION("Divides by a parameter");
MODULE_LICENSE("GPL");
