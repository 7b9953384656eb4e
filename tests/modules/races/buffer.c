// SPDX-License-Identifier: GPL-2.0
/* A message is shown while it is half replaced: length and bytes do not belong together. */
#include "device.h"

static char message[32] = "none";
static size_t length = 4;
static ssize_t on_write(struct file *f, const char __user *u, size_t n, loff_t *pos)
{
	ssize_t result = n;

	if (n > sizeof(message))
		return -EINVAL;
	LOCK();
	if (copy_from_user(message, u, n))
		result = -EFAULT;
	else
		length = n; /* the race */
	UNLOCK();
	return result;
}
static ssize_t on_read(struct file *f, char __user *u, size_t n, loff_t *pos)
{
	ssize_t result;

	LOCK();
	result = min(n, length);
	if (copy_to_user(u, message, result))
		result = -EFAULT;
	UNLOCK();
	return result;
}
DEVICE("kobox_buffer", .write = on_write, .read = on_read);
module_misc_device(device);
