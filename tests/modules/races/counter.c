// SPDX-License-Identifier: GPL-2.0
/* A counter is added to without a lock, and read() tells it. */
#include "device.h"

static unsigned long total;
static ssize_t on_write(struct file *f, const char __user *u, size_t n, loff_t *pos)
{
	LOCK();
	total += n; /* the race */
	UNLOCK();
	return n;
}
static ssize_t on_read(struct file *f, char __user *u, size_t n, loff_t *pos)
{
	unsigned long now;

	LOCK();
	now = READ_ONCE(total);
	UNLOCK();
	return simple_read_from_buffer(u, n, pos, &now, sizeof(now));
}
DEVICE("kobox_counter", .write = on_write, .read = on_read);
module_misc_device(device);
