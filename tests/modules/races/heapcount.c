// SPDX-License-Identifier: GPL-2.0
/* A counter in an object of the heap that all files share. */
#include "device.h"

struct statistics { spinlock_t lock; u32 calls, bytes; };
static struct statistics *statistics;
static ssize_t on_write(struct file *f, const char __user *u, size_t n, loff_t *pos)
{
	IF_RIGHT(spin_lock(&statistics->lock));
	statistics->calls++; /* the race */
	IF_RIGHT(spin_unlock(&statistics->lock));
	return n;
}
static ssize_t on_read(struct file *f, char __user *u, size_t n, loff_t *pos)
{
	return READ_ONCE(statistics->calls);
}
DEVICE("kobox_heapcount", .write = on_write, .read = on_read);
static int __init start(void)
{
	int error;

	statistics = kzalloc(sizeof(*statistics), GFP_KERNEL);
	if (!statistics)
		return -ENOMEM;
	spin_lock_init(&statistics->lock);
	error = misc_register(&device);
	if (error)
		kfree(statistics);
	return error;
}
static void __exit stop(void)
{
	misc_deregister(&device);
	kfree(statistics);
}
module_init(start);
module_exit(stop);
