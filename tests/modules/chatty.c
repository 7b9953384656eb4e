// SPDX-License-Identifier: GPL-2.0
/* Much talk: rate limited, at every level, continued lines, and more than the log holds when asked. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt
#include <linux/delay.h>
#include <linux/module.h>
#include <linux/printk.h>
#include <linux/ratelimit.h>

static int lines;
module_param(lines, int, 0444);

static void chatty_burst(int count)
{
	int i;

	for (i = 0; i < count; i++)
		pr_info_ratelimited("ratelimited %d of %d\n", i, count);
}

static int __init chatty_init(void)
{
	int i;

	pr_emerg("level 0\n");
	pr_alert("level 1\n");
	pr_crit("level 2\n");
	pr_err("level 3\n");
	pr_warn("level 4\n");
	pr_notice("level 5\n");
	pr_info("level 6\n");
	printk(KERN_DEBUG "chatty: level 7\n");
	pr_info("first half,");
	pr_cont(" second half\n");
	chatty_burst(25);
	msleep(6000);
	chatty_burst(2);
	for (i = 0; i < 3; i++)
		pr_info_once("once\n");
	for (i = 0; i < lines; i++)
		pr_info("line %d of many, with some text behind it to take up room\n", i);
	return 0;
}

static void __exit chatty_exit(void)
{
}

module_init(chatty_init);
module_exit(chatty_exit);
MODULE_LICENSE("GPL");
