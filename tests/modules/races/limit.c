// SPDX-License-Identifier: GPL-2.0
/* At most one token is given out: it is counted after the look. */
#include "device.h"

static int given;
static long on_ioctl(struct file *f, unsigned int request, unsigned long value)
{
	long result = -ENOSPC;

	if (request != 0x4b02)
		return -ENOTTY;
	LOCK();
	if (given < 1) {
		given++; /* the race */
		result = 0;
	}
	UNLOCK();
	return result;
}
DEVICE("kobox_limit", .unlocked_ioctl = on_ioctl);
module_misc_device(device);
