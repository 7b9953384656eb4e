// SPDX-License-Identifier: GPL-2.0
#include "driver.h"
/* A kfifo with one reader and several writers. */
static DEFINE_KFIFO(fifo, char, 64);
static DEFINE_SPINLOCK(wlock);
static DEFINE_MUTEX(rlock);
static ssize_t t_write(struct file *f, const char __user *u, size_t n, loff_t *p)
{
	char in[8]; size_t k = min(n, sizeof(in)), done;
	if (copy_from_user(in, u, k))
		return -EFAULT;
	IF_RIGHT(done = kfifo_in_spinlocked(&fifo, in, k, &wlock);)
	IF_WRONG(done = kfifo_in(&fifo, in, k);) /* the race */
	return done ? done : -ENOSPC;
}
static ssize_t t_read(struct file *f, char __user *u, size_t n, loff_t *p)
{
	unsigned int copied; int e;
	mutex_lock(&rlock);
	e = kfifo_to_user(&fifo, u, n, &copied);
	mutex_unlock(&rlock);
	return e ? e : copied;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .write = t_write, .read = t_read };
static struct miscdevice dev = { .minor = MISC_DYNAMIC_MINOR, .name = "fifo", .fops = &fops };
module_misc_device(dev);
