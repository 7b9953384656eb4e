// SPDX-License-Identifier: GPL-2.0
/*
 * skeleton: module parameters of every common kind.
 *
 * A parameter is set when loading (insmod skeleton.ko count=3), on the kernel
 * command line (skeleton.count=3), or, if its mode allows, by writing to
 * /sys/module/skeleton/parameters/count.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/init.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/printk.h>

/* 0644: anybody may read it, root may change it while the module is loaded. */
static int count = 1;
module_param(count, int, 0644);
MODULE_PARM_DESC(count, "how many times to greet when loaded");

static bool loud;
module_param(loud, bool, 0644);
MODULE_PARM_DESC(loud, "greet with an exclamation mark");

/* 0444: read-only, so it is only set at load time and needs no locking. */
static char *whom = "world";
module_param(whom, charp, 0444);
MODULE_PARM_DESC(whom, "whom to greet");

/* sizes=1,2,3: the kernel counts into sizes_given what was given. */
static int sizes[4];
static int sizes_given;
module_param_array(sizes, int, &sizes_given, 0444);
MODULE_PARM_DESC(sizes, "up to four numbers to add up");

/*
 * A callback sees every write, and may refuse it. The kernel calls set() with
 * the parameter lock held, at load time as well as from sysfs.
 */
static int percent = 50;

static int percent_set(const char *text, const struct kernel_param *kp)
{
	int value;
	int err;

	err = kstrtoint(text, 0, &value);
	if (err)
		return err;
	if (value < 0 || value > 100)
		return -ERANGE;
	pr_info("percent goes from %d to %d\n", percent, value);
	percent = value;
	return 0;
}

static const struct kernel_param_ops percent_ops = {
	.set = percent_set,
	.get = param_get_int,
};
module_param_cb(percent, &percent_ops, &percent, 0644);
MODULE_PARM_DESC(percent, "a number from 0 to 100");

static int __init skeleton_init(void)
{
	int sum = 0;
	int i;

	for (i = 0; i < count; i++)
		pr_info("hello, %s%s\n", whom, loud ? "!" : "");
	for (i = 0; i < sizes_given; i++)
		sum += sizes[i];
	if (sizes_given)
		pr_info("%d sizes, %d in all\n", sizes_given, sum);
	return 0;
}

static void __exit skeleton_exit(void)
{
	pr_info("percent is %d at the end\n", percent);
}

module_init(skeleton_init);
module_exit(skeleton_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Module parameters of every common kind");
