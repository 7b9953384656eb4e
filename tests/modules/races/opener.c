// SPDX-License-Identifier: GPL-2.0
/* A file that one may open at a time: not of a misc device, whose open() the kernel serialises (misc_open()). */
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/proc_fs.h>

static DEFINE_MUTEX(lock);
static int opened;
static int on_open(struct inode *inode, struct file *f)
{
	int result = 0;

#ifdef RIGHT
	mutex_lock(&lock);
#endif
	if (opened)
		result = -EBUSY;
	else
		opened = 1; /* the race */
#ifdef RIGHT
	mutex_unlock(&lock);
#endif
	return result;
}
static int on_release(struct inode *inode, struct file *f)
{
	mutex_lock(&lock);
	opened = 0;
	mutex_unlock(&lock);
	return 0;
}
static const struct proc_ops operations = { .proc_open = on_open, .proc_release = on_release };
static int __init start(void) { return proc_create("kobox_opener", 0600, NULL, &operations) ? 0 : -ENOMEM; }
static void __exit stop(void) { remove_proc_entry("kobox_opener", NULL); }
module_init(start);
module_exit(stop);
MODULE_LICENSE("GPL");
