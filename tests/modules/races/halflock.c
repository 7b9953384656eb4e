// SPDX-License-Identifier: GPL-2.0
/* One path takes the lock, the other does not. */
#include "device.h"

static DEFINE_SPINLOCK(guard);
static unsigned int credits = 100;
module_param(credits, uint, 0444);
static ssize_t on_write(struct file *f, const char __user *u, size_t n, loff_t *pos)
{
	spin_lock(&guard);
	credits += 1;
	spin_unlock(&guard);
	return n;
}
static ssize_t on_read(struct file *f, char __user *u, size_t n, loff_t *pos)
{
	IF_RIGHT(spin_lock(&guard));
	credits -= 1; /* the race */
	IF_RIGHT(spin_unlock(&guard));
	return 0;
}
DEVICE("kobox_halflock", .write = on_write, .read = on_read);
module_misc_device(device);
