// SPDX-License-Identifier: GPL-2.0
#include "driver.h"
/* A thread looks for work before it says that it sleeps: a caller that comes between the two waits for ever. */
static struct task_struct *thread;
static DECLARE_WAIT_QUEUE_HEAD(answers);
static int wanted;
static unsigned long served;
static int serve(void *unused)
{
	while (!kthread_should_stop()) {
		IF_RIGHT(set_current_state(TASK_INTERRUPTIBLE);)
		if (!READ_ONCE(wanted)) { /* the race */
			IF_WRONG(set_current_state(TASK_INTERRUPTIBLE);)
			if (!kthread_should_stop())
				schedule();
			__set_current_state(TASK_RUNNING);
			continue;
		}
		__set_current_state(TASK_RUNNING);
		WRITE_ONCE(wanted, 0);
		WRITE_ONCE(served, READ_ONCE(served) + 1);
		wake_up(&answers);
	}
	return 0;
}
static ssize_t ask(struct file *f, const char __user *u, size_t n, loff_t *o)
{
	unsigned long before = READ_ONCE(served);
	WRITE_ONCE(wanted, 1);
	wake_up_process(thread);
	return wait_event_interruptible(answers, READ_ONCE(served) != before) ?: n;
}
MISC("workerwake", .write = ask);
static int __init start(void)
{
	int error;
	thread = kthread_run(serve, NULL, "workerwake");
	if (IS_ERR(thread))
		return PTR_ERR(thread);
	error = misc_register(&device);
	if (error)
		kthread_stop(thread);
	return error;
}
static void __exit stop(void) { misc_deregister(&device); kthread_stop(thread); }
module_init(start);
module_exit(stop);
