// SPDX-License-Identifier: GPL-2.0
/* Two mutexes that two requests take in opposite orders. */
#include "device.h"

static DEFINE_MUTEX(other);
static int here, there;

static long on_ioctl(struct file *file, unsigned int request, unsigned long argument)
{
	switch (request) {
	case 0x4B01:
		mutex_lock(&lock);
		here++;
		mutex_lock(&other); /* the race */
		there++;
		mutex_unlock(&other);
		mutex_unlock(&lock);
		return 0;
	case 0x4B02:
		IF_RIGHT(mutex_lock(&lock));
		mutex_lock(&other);
		there--;
		IF_RIGHT(if (0))
			mutex_lock(&lock); /* the race */
		here--;
		mutex_unlock(&lock);
		mutex_unlock(&other);
		return 0;
	default:
		return -ENOTTY;
	}
}

DEVICE("kobox_abba", .unlocked_ioctl = on_ioctl);
module_misc_device(device);
