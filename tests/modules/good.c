// SPDX-License-Identifier: GPL-2.0
/* The plainest module with a parameter, whose exit can be held off and whose init returns what it is told. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt
#include <linux/module.h>
#include <linux/moduleparam.h>

static int n;
module_param(n, int, 0444);

static int result;
module_param(result, int, 0444);

static bool hold;
module_param(hold, bool, 0444);

static int __init good_init(void)
{
	pr_info("loaded with n=%d\n", n);
	if (hold)
		__module_get(THIS_MODULE);
	return result;
}

static void __exit good_exit(void)
{
	pr_info("unloaded\n");
}

module_init(good_init);
module_exit(good_exit);
MODULE_LICENSE("GPL");
MODULE_VERSION("1.0");
