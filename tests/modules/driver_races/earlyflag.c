// SPDX-License-Identifier: GPL-2.0
#include "driver.h"
/* A message and a flag that says that it is there. */
static char message[16];
static int there;
static ssize_t t_write(struct file *f, const char __user *u, size_t n, loff_t *p)
{
	static DEFINE_MUTEX(lock);
	char new[16] = "";
	if (n > 15 || copy_from_user(new, u, n))
		return -EINVAL;
	mutex_lock(&lock);
	if (!there) {
		IF_WRONG(WRITE_ONCE(there, 1);)
		memcpy(message, new, sizeof(message)); /* the race */
		IF_RIGHT(smp_store_release(&there, 1);)
	}
	mutex_unlock(&lock);
	return n;
}
static ssize_t t_read(struct file *f, char __user *u, size_t n, loff_t *p)
{
	if (!smp_load_acquire(&there))
		return -EAGAIN;
	if (n < sizeof(message))
		return -EINVAL;
	return copy_to_user(u, message, sizeof(message)) ? -EFAULT : sizeof(message); /* the race */
}
static const struct file_operations fops = { .owner = THIS_MODULE, .write = t_write, .read = t_read };
static struct miscdevice dev = { .minor = MISC_DYNAMIC_MINOR, .name = "earlyflag", .fops = &fops };
module_misc_device(dev);
