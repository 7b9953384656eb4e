// SPDX-License-Identifier: GPL-2.0
/* A reference counter that is a plain number. */
#include "device.h"

#ifdef RIGHT
static atomic_t users = ATOMIC_INIT(1);
#else
static int users = 1;
module_param(users, int, 0444);
#endif
static long on_ioctl(struct file *f, unsigned int request, unsigned long value)
{
	switch (request) {
	case 0x4b04:
#ifdef RIGHT
		atomic_inc(&users);
#else
		users++; /* the race */
#endif
		return 0;
	case 0x4b05:
#ifdef RIGHT
		atomic_dec(&users);
#else
		users--; /* the race */
#endif
		return 0;
	default:
		return -ENOTTY;
	}
}
DEVICE("kobox_users", .unlocked_ioctl = on_ioctl);
module_misc_device(device);
