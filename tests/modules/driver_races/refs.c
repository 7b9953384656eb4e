// SPDX-License-Identifier: GPL-2.0
#include "driver.h"
/* One object for all who have the device open, counted by hand. */
struct shared { int refs; int uses; };
static struct shared *shared;
static DEFINE_SPINLOCK(lock);
static int t_open(struct inode *i, struct file *f)
{
	struct shared *new = kzalloc(sizeof(*new), GFP_KERNEL);
	if (!new)
		return -ENOMEM;
	spin_lock(&lock);
	if (!shared) { shared = new; new = NULL; }
	shared->refs++;
	f->private_data = shared;
	spin_unlock(&lock);
	kfree(new);
	return 0;
}
static int t_release(struct inode *i, struct file *f)
{
	struct shared *s = f->private_data;
	IF_RIGHT(spin_lock(&lock);)
	if (--s->refs == 0) { /* the race */
		IF_WRONG(spin_lock(&lock);)
		shared = NULL;
		IF_WRONG(spin_unlock(&lock);)
		IF_RIGHT(spin_unlock(&lock);)
		kfree(s);
		return 0;
	}
	IF_RIGHT(spin_unlock(&lock);)
	return 0;
}
static ssize_t t_write(struct file *f, const char __user *u, size_t n, loff_t *p)
{
	struct shared *s = f->private_data;
	spin_lock(&lock);
	s->uses++;
	spin_unlock(&lock);
	return n;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .open = t_open, .release = t_release, .write = t_write };
static struct miscdevice dev = { .minor = MISC_DYNAMIC_MINOR, .name = "refs", .fops = &fops };
module_misc_device(dev);
