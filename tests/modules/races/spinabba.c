// SPDX-License-Identifier: GPL-2.0
/* Two spin locks that two requests take in opposite orders. */
#include "device.h"

static DEFINE_SPINLOCK(mine);
static DEFINE_SPINLOCK(other);
static int here, there;

static long on_ioctl(struct file *file, unsigned int request, unsigned long argument)
{
	switch (request) {
	case 0x4B01:
		spin_lock(&mine);
		here++;
		spin_lock(&other); /* the race */
		there++;
		spin_unlock(&other);
		spin_unlock(&mine);
		return 0;
	case 0x4B02:
		IF_RIGHT(spin_lock(&mine));
		spin_lock(&other);
		there--;
		IF_RIGHT(if (0))
			spin_lock(&mine); /* the race */
		here--;
		spin_unlock(&mine);
		spin_unlock(&other);
		return 0;
	default:
		return -ENOTTY;
	}
}

DEVICE("kobox_spinabba", .unlocked_ioctl = on_ioctl);
module_misc_device(device);
