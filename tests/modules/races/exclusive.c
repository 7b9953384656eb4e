// SPDX-License-Identifier: GPL-2.0
/* A device that one may use at a time: it is looked at whether it is free, and taken later. */
#include "device.h"

static int busy;
static long on_ioctl(struct file *f, unsigned int request, unsigned long value)
{
	long result = 0;

	if (request != 0x4b01)
		return -ENOTTY;
	LOCK();
	if (busy)
		result = -EBUSY;
	else
		busy = 1; /* the race */
	UNLOCK();
	return result;
}
DEVICE("kobox_exclusive", .unlocked_ioctl = on_ioctl);
module_misc_device(device);
