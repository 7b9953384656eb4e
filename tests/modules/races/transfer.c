// SPDX-License-Identifier: GPL-2.0
/* Two accounts are locked in the order in which the caller names them: from 0 to 1, and from 1 to 0. */
#include "device.h"

static struct account { struct mutex lock; long sum; } accounts[2];
static ssize_t on_write(struct file *f, const char __user *u, size_t n, loff_t *pos)
{
	struct account *from, *to;
	u8 names[2];

	if (n < sizeof(names) || copy_from_user(names, u, sizeof(names)))
		return -EINVAL;
	from = &accounts[names[0] & 1];
	to = &accounts[names[1] & 1];
	if (from == to)
		return -EINVAL;
#ifdef RIGHT
	mutex_lock(from < to ? &from->lock : &to->lock);
	mutex_lock(from < to ? &to->lock : &from->lock);
#else
	mutex_lock(&from->lock);
	mutex_lock(&to->lock); /* the race */
#endif
	from->sum--;
	to->sum++;
	mutex_unlock(&to->lock);
	mutex_unlock(&from->lock);
	return n;
}
DEVICE("kobox_transfer", .write = on_write);
static int __init start(void)
{
	mutex_init(&accounts[0].lock);
	mutex_init(&accounts[1].lock);
	return misc_register(&device);
}
static void __exit stop(void) { misc_deregister(&device); }
module_init(start);
module_exit(stop);
