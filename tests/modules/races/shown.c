// SPDX-License-Identifier: GPL-2.0
/* A count that may miss some: nothing but a parameter shows it. */
#include "device.h"

static unsigned long total;
module_param(total, ulong, 0444);
static ssize_t on_write(struct file *f, const char __user *u, size_t n, loff_t *pos)
{
	total += n;
	return n;
}
DEVICE("kobox_shown", .write = on_write);
module_misc_device(device);
