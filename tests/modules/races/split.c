// SPDX-License-Identifier: GPL-2.0
/* A counter is read, and written a while later. */
#include "device.h"

static u64 bytes;
module_param(bytes, ullong, 0444);
static ssize_t on_write(struct file *f, const char __user *u, size_t n, loff_t *pos)
{
	u64 old;

	LOCK();
	old = bytes;
	cond_resched();
	bytes = old + n; /* the race */
	UNLOCK();
	return n;
}
DEVICE("kobox_split", .write = on_write);
module_misc_device(device);
