// SPDX-License-Identifier: GPL-2.0
/* An object is replaced and freed while another call uses it. */
#include "device.h"

struct setting { unsigned long value, check; };
static struct setting *setting;
static ssize_t on_write(struct file *f, const char __user *u, size_t n, loff_t *pos)
{
	struct setting *fresh = kzalloc(sizeof(*fresh), GFP_KERNEL), *old;

	if (!fresh)
		return -ENOMEM;
	fresh->value = fresh->check = n;
	LOCK();
	old = setting;
	setting = fresh;
	UNLOCK();
	kfree(old);
	return n;
}
static ssize_t on_read(struct file *f, char __user *u, size_t n, loff_t *pos)
{
	unsigned long value = 0;

	if (n < sizeof(value))
		return -EINVAL;
	LOCK();
	if (setting)
		value = setting->value; /* the race */
	UNLOCK();
	return copy_to_user(u, &value, sizeof(value)) ? -EFAULT : sizeof(value);
}
DEVICE("kobox_replaced", .write = on_write, .read = on_read);
static int __init start(void) { return misc_register(&device); }
static void __exit stop(void)
{
	misc_deregister(&device);
	kfree(setting);
}
module_init(start);
module_exit(stop);
