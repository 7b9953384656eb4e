// SPDX-License-Identifier: GPL-2.0
#include "driver.h"
/* A bit says that the device is in use: it is looked at and set in two steps, each of them atomic. */
static unsigned long state, sum;
static ssize_t w(struct file *f, const char __user *u, size_t n, loff_t *o)
{
#ifdef RIGHT
	if (test_and_set_bit_lock(0, &state))
		return -EBUSY;
#else
	if (test_bit(0, &state)) /* the race */
		return -EBUSY;
	set_bit(0, &state);
#endif
	sum += n; /* the race */
	clear_bit_unlock(0, &state);
	return n;
}
static ssize_t r(struct file *f, char __user *u, size_t n, loff_t *o)
{
	unsigned long now = READ_ONCE(sum);
	return simple_read_from_buffer(u, n, o, &now, sizeof(now));
}
MISC("busybit", .write = w, .read = r);
module_misc_device(device);
