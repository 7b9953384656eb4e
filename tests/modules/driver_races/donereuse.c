// SPDX-License-Identifier: GPL-2.0
#include "driver.h"
/* One completion for all callers: who makes it ready again loses the other's. */
static DECLARE_COMPLETION(done);
static struct work_struct job;
static DEFINE_MUTEX(m);
static void job_fn(struct work_struct *w) { complete(&done); }
static ssize_t d_write(struct file *f, const char __user *u, size_t n, loff_t *o)
{
	ssize_t ret = n;
	IF_RIGHT(mutex_lock(&m);)
	reinit_completion(&done); /* the race */
	schedule_work(&job);
	if (wait_for_completion_interruptible(&done)) ret = -EINTR; /* the race */
	IF_RIGHT(mutex_unlock(&m);)
	return ret;
}
MISC("donereuse", .write = d_write);
static int __init d_init(void) { INIT_WORK(&job, job_fn); return misc_register(&device); }
static void __exit d_exit(void) { misc_deregister(&device); cancel_work_sync(&job); }
module_init(d_init); module_exit(d_exit);
