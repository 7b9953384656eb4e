// SPDX-License-Identifier: GPL-2.0
/* Two writers take the same place of a ring. */
#include "device.h"

static u8 ring[64];
static unsigned int head;
module_param(head, uint, 0444);
static ssize_t on_write(struct file *f, const char __user *u, size_t n, loff_t *pos)
{
	u8 byte;

	if (!n || get_user(byte, (const u8 __user *)u))
		return -EFAULT;
	LOCK();
	ring[head % sizeof(ring)] = byte;
	head = (head + 1) % sizeof(ring); /* the race */
	UNLOCK();
	return n;
}
DEVICE("kobox_index", .write = on_write);
module_misc_device(device);
