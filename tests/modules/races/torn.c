// SPDX-License-Identifier: GPL-2.0
/* A pair that belongs together is read while it is half written. */
#include "device.h"

static struct { u32 low, high; } pair;
static ssize_t on_write(struct file *f, const char __user *u, size_t n, loff_t *pos)
{
	LOCK();
	pair.low = n;
	cond_resched();
	pair.high = n; /* the race */
	UNLOCK();
	return n;
}
static ssize_t on_read(struct file *f, char __user *u, size_t n, loff_t *pos)
{
	u32 copy[2];

	if (n < sizeof(copy))
		return -EINVAL;
	LOCK();
	copy[0] = pair.low;
	copy[1] = pair.high;
	UNLOCK();
	return copy_to_user(u, copy, sizeof(copy)) ? -EFAULT : sizeof(copy);
}
DEVICE("kobox_torn", .write = on_write, .read = on_read);
module_misc_device(device);
