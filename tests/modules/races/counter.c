// SPDX-License-Identifier: GPL-2.0
/* A counter is added to without a lock. */
#include "device.h"

static unsigned long total;
module_param(total, ulong, 0444);
static ssize_t on_write(struct file *f, const char __user *u, size_t n, loff_t *pos)
{
	LOCK();
	total += n; /* the race */
	UNLOCK();
	return n;
}
DEVICE("kobox_counter", .write = on_write);
module_misc_device(device);
