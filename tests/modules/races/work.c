// SPDX-License-Identifier: GPL-2.0
/* A work item counts what the call that queues it counts too. */
#include "device.h"
#include <linux/workqueue.h>

static unsigned long done;
module_param(done, ulong, 0444);
static void on_work(struct work_struct *w)
{
	LOCK();
	done++;
	UNLOCK();
}
static DECLARE_WORK(work, on_work);
static ssize_t on_write(struct file *f, const char __user *u, size_t n, loff_t *pos)
{
	unsigned long before;

	schedule_work_on(0, &work);
	LOCK();
	before = done;
	barrier();
	done = before + 1000; /* the race */
	UNLOCK();
	return n;
}
DEVICE("kobox_work", .write = on_write);
static int __init start(void) { return misc_register(&device); }
static void __exit stop(void)
{
	misc_deregister(&device);
	cancel_work_sync(&work);
}
module_init(start);
module_exit(stop);
