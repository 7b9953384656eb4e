// SPDX-License-Identifier: GPL-2.0
/* Prints `count` messages from one line in init, and as many when its parameter is read. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt
#include <linux/module.h>

static int count = 3;
module_param(count, int, 0444);

static noinline void closed_much(int times)
{
	while (times--)
		pr_info("message %d\n", times);	/* in init */
}

static int closed_read(char *buffer, const struct kernel_param *kp)
{
	int n;

	for (n = 0; n < count; n++)
		pr_info("read %d\n", n);	/* when read */
	return 0;
}
static const struct kernel_param_ops closed_ops = { .get = closed_read };
module_param_cb(read, &closed_ops, NULL, 0444);

static int __init closed_init(void)
{
	closed_much(count);
	return 0;
}

static void __exit closed_exit(void)
{
}

module_init(closed_init);
module_exit(closed_exit);
MODULE_LICENSE("Proprietary");
