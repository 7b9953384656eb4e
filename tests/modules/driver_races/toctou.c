// SPDX-License-Identifier: GPL-2.0
#include "driver.h"
/* A message of up to 64 bytes; whoever reads has room for 32 only. */
static DEFINE_MUTEX(lock);
static char text[64];
static size_t length;
static ssize_t t_write(struct file *f, const char __user *u, size_t n, loff_t *p)
{
	if (n > sizeof(text))
		return -EINVAL;
	mutex_lock(&lock);
	if (copy_from_user(text, u, n)) { mutex_unlock(&lock); return -EFAULT; }
	length = n;
	mutex_unlock(&lock);
	return n;
}
static ssize_t t_read(struct file *f, char __user *u, size_t n, loff_t *p)
{
	char small[32];
	size_t len;
	IF_RIGHT(mutex_lock(&lock);)
	if (length > sizeof(small)) { /* the race */
		IF_RIGHT(mutex_unlock(&lock);)
		return -EMSGSIZE;
	}
	IF_WRONG(mutex_lock(&lock);)
	len = length;
	memcpy(small, text, len); /* the race */
	mutex_unlock(&lock);
	if (n < len)
		len = n;
	return copy_to_user(u, small, len) ? -EFAULT : len;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .write = t_write, .read = t_read };
static struct miscdevice dev = { .minor = MISC_DYNAMIC_MINOR, .name = "toctou", .fops = &fops };
module_misc_device(dev);
