// SPDX-License-Identifier: GPL-2.0
#include "driver.h"
/* Two flags, each set before the other is looked at: without a barrier both stores may still be in their buffers. */
static int want[2];
static int inside;
static DEFINE_MUTEX(writers);
static DEFINE_MUTEX(readers);
module_param(inside, int, 0444);
static ssize_t d_write(struct file *f, const char __user *u, size_t n, loff_t *o)
{
	mutex_lock(&writers);
	WRITE_ONCE(want[0], 1); /* the race */
	IF_RIGHT(smp_mb();)
	if (!READ_ONCE(want[1])) /* the race */
		inside += 2; /* the race */
	WRITE_ONCE(want[0], 0);
	mutex_unlock(&writers);
	return n;
}
static ssize_t d_read(struct file *f, char __user *u, size_t n, loff_t *o)
{
	mutex_lock(&readers);
	WRITE_ONCE(want[1], 1); /* the race */
	IF_RIGHT(smp_mb();)
	if (!READ_ONCE(want[0])) /* the race */
		inside -= 1;
	WRITE_ONCE(want[1], 0);
	mutex_unlock(&readers);
	return 0;
}
MISC("dekker", .write = d_write, .read = d_read);
module_misc_device(device);
