// SPDX-License-Identifier: GPL-2.0
/* Data of one open file, which two threads may use at once. */
#include "device.h"

struct session { struct mutex lock; unsigned int calls; };
static int on_open(struct inode *inode, struct file *f)
{
	struct session *session = kzalloc(sizeof(*session), GFP_KERNEL);

	if (!session)
		return -ENOMEM;
	mutex_init(&session->lock);
	f->private_data = session;
	return 0;
}
static int on_release(struct inode *inode, struct file *f)
{
	kfree(f->private_data);
	return 0;
}
static long on_ioctl(struct file *f, unsigned int request, unsigned long value)
{
	struct session *session = f->private_data;

	if (request != 0x4b03)
		return -ENOTTY;
	IF_RIGHT(mutex_lock(&session->lock));
	session->calls++; /* the race */
	IF_RIGHT(mutex_unlock(&session->lock));
	return 0;
}
static ssize_t on_read(struct file *f, char __user *u, size_t n, loff_t *pos)
{
	struct session *session = f->private_data;

	return READ_ONCE(session->calls);
}
DEVICE("kobox_file", .read = on_read, .open = on_open, .release = on_release, .unlocked_ioctl = on_ioctl);
module_misc_device(device);
