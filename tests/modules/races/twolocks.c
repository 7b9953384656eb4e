// SPDX-License-Identifier: GPL-2.0
/* Each path takes a lock, but not the same one. */
#include "device.h"

static DEFINE_SPINLOCK(in_lock);
static DEFINE_SPINLOCK(out_lock);
static unsigned long level;
module_param(level, ulong, 0444);
static ssize_t on_write(struct file *f, const char __user *u, size_t n, loff_t *pos)
{
	spin_lock(&in_lock);
	level += 2;
	spin_unlock(&in_lock);
	return n;
}
static ssize_t on_read(struct file *f, char __user *u, size_t n, loff_t *pos)
{
#ifdef RIGHT
	spin_lock(&in_lock);
	level -= 2;
	spin_unlock(&in_lock);
	(void)&out_lock;
#else
	spin_lock(&out_lock);
	level -= 2; /* the race */
	spin_unlock(&out_lock);
#endif
	return 0;
}
DEVICE("kobox_twolocks", .write = on_write, .read = on_read);
module_misc_device(device);
