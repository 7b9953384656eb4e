// SPDX-License-Identifier: GPL-2.0
/* A plain update on the line of a READ_ONCE(), which marks what it reads and not what stands beside it. */
#include "device.h"

static unsigned long total, factor = 1;
static ssize_t on_write(struct file *f, const char __user *u, size_t n, loff_t *pos)
{
	LOCK();
	total += n * READ_ONCE(factor); /* the race */
	UNLOCK();
	return n;
}
static ssize_t on_read(struct file *f, char __user *u, size_t n, loff_t *pos)
{
	unsigned long now;

	LOCK();
	now = total;
	UNLOCK();
	return simple_read_from_buffer(u, n, pos, &now, sizeof(now));
}
DEVICE("kobox_onceline", .write = on_write, .read = on_read);
module_misc_device(device);
