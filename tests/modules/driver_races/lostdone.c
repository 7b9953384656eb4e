// SPDX-License-Identifier: GPL-2.0
#include "driver.h"
/* A request is given to a work item and its completion awaited. */
static DECLARE_COMPLETION(done);
static DEFINE_MUTEX(lock);
static int answer;
static void serve(struct work_struct *w) { WRITE_ONCE(answer, 42); complete(&done); }
static DECLARE_WORK(work, serve);
static ssize_t t_write(struct file *f, const char __user *u, size_t n, loff_t *p)
{
	long left;
	mutex_lock(&lock);
	IF_RIGHT(reinit_completion(&done);)
	schedule_work(&work);
	IF_WRONG(reinit_completion(&done);) /* the race */
	left = wait_for_completion_timeout(&done, HZ);
	mutex_unlock(&lock);
	return left ? n : -ETIMEDOUT;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .write = t_write };
static struct miscdevice dev = { .minor = MISC_DYNAMIC_MINOR, .name = "lostdone", .fops = &fops };
static int __init t_init(void) { return misc_register(&dev); }
static void __exit t_exit(void) { misc_deregister(&dev); cancel_work_sync(&work); }
module_init(t_init); module_exit(t_exit);
