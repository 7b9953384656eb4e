// SPDX-License-Identifier: GPL-2.0
/* The lock is dropped between the look and the change. */
#include "device.h"

static DEFINE_SPINLOCK(guard);
static int free_slots = 1;
static long on_ioctl(struct file *f, unsigned int request, unsigned long value)
{
	long result = 0;
	int have;

	if (request != 0x4b06)
		return -ENOTTY;
	spin_lock(&guard);
	have = free_slots;
#ifndef RIGHT
	spin_unlock(&guard);
	if (have <= 0)
		return -ENOSPC;
	spin_lock(&guard); /* the race */
#endif
	if (have > 0)
		free_slots = have - 1;
	else
		result = -ENOSPC;
	spin_unlock(&guard);
	return result;
}
DEVICE("kobox_drop", .unlocked_ioctl = on_ioctl);
module_misc_device(device);
