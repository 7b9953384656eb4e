// SPDX-License-Identifier: GPL-2.0
/* Nothing is wrong, but that it takes its time: four seconds of CPU time before what can fail. */
#include <linux/delay.h>
#include <linux/module.h>
#include <linux/slab.h>

static char *buffer;

static int __init slow_init(void)
{
	mdelay(4000);
	buffer = kmalloc(64, GFP_KERNEL);
	return buffer ? 0 : -ENOMEM;
}

static void __exit slow_exit(void)
{
	kfree(buffer);
}

module_init(slow_init);
module_exit(slow_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Waits with open eyes");
