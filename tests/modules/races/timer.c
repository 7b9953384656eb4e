// SPDX-License-Identifier: GPL-2.0
/* A timer counts what a call counts too. */
#include "device.h"
#include <linux/timer.h>
#include <linux/version.h>

static DEFINE_SPINLOCK(guard);
static unsigned long ticks;
module_param(ticks, ulong, 0444);
static struct timer_list timer;
static void on_timer(struct timer_list *t)
{
	IF_RIGHT(spin_lock(&guard));
	ticks++;
	IF_RIGHT(spin_unlock(&guard));
	mod_timer(&timer, jiffies + 1);
}
static ssize_t on_write(struct file *f, const char __user *u, size_t n, loff_t *pos)
{
	IF_RIGHT(spin_lock_bh(&guard));
	ticks += 1000; /* the race */
	IF_RIGHT(spin_unlock_bh(&guard));
	return n;
}
DEVICE("kobox_timer", .write = on_write);
static int __init start(void)
{
	int error;

	(void)&guard;
	timer_setup(&timer, on_timer, 0);
	error = misc_register(&device);
	if (!error)
		mod_timer(&timer, jiffies + 1);
	return error;
}
static void __exit stop(void)
{
	misc_deregister(&device);
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0)
	timer_shutdown_sync(&timer);
#else
	del_timer_sync(&timer);
#endif
}
module_init(start);
module_exit(stop);
