// SPDX-License-Identifier: GPL-2.0
/* Bits of one word are set by two calls without a lock. */
#include "device.h"

static unsigned long flags;
module_param(flags, ulong, 0444);
static ssize_t on_write(struct file *f, const char __user *u, size_t n, loff_t *pos)
{
#ifdef RIGHT
	set_bit(0, &flags);
#else
	flags |= 1; /* the race */
#endif
	return n;
}
static ssize_t on_read(struct file *f, char __user *u, size_t n, loff_t *pos)
{
#ifdef RIGHT
	set_bit(1, &flags);
#else
	flags |= 2; /* the race */
#endif
	return 0;
}
DEVICE("kobox_flags", .write = on_write, .read = on_read);
module_misc_device(device);
