// SPDX-License-Identifier: GPL-2.0
/* kind: use after free */
#include "seeded.h"

static struct task_struct *worker;
static atomic_t turns = ATOMIC_INIT(0);
static int run(void *data)
{
	while (!kthread_should_stop()) {
		msleep_interruptible(10);
		atomic_inc(&turns);
#ifndef FIXED
		if (atomic_read(&turns) > 2)
			return 0;
#endif
	}
	return 0;
}
static int hello(void)
{
	worker = kthread_run(run, NULL, "thread_gone");
	return PTR_ERR_OR_ZERO(worker);
}
static void bye(void) { kthread_stop(worker); /* BUG */ }
static ssize_t r(struct file *f, char __user *b, size_t n, loff_t *o) { msleep(100); return 0; }
static const struct file_operations fops = { .owner = THIS_MODULE, .read = r };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "thread_gone", .fops = &fops };
static int __init m_init(void)
{
	int err = hello();

	if (err)
		return err;
	err = misc_register(&mdev);
	if (err)
		bye();
	return err;
}
static void __exit m_exit(void) { misc_deregister(&mdev); bye(); }
module_init(m_init);
module_exit(m_exit);
