// SPDX-License-Identifier: GPL-2.0
/* Takes a task that could not be made for one: kthread_create() never returns NULL. */
#include <linux/err.h>
#include <linux/kthread.h>
#include <linux/module.h>

static struct task_struct *task;

static int waits(void *unused)
{
	set_current_state(TASK_INTERRUPTIBLE);
	while (!kthread_should_stop()) {
		schedule();
		set_current_state(TASK_INTERRUPTIBLE);
	}
	return 0;
}

static int __init errptr_init(void)
{
	task = kthread_create(waits, NULL, KBUILD_MODNAME);
#ifdef RIGHT
	if (IS_ERR(task))
		return PTR_ERR(task);
#else
	if (!task)
		return -ENOMEM;
#endif
	task->flags |= PF_NO_SETAFFINITY;
	wake_up_process(task);
	return 0;
}

static void __exit errptr_exit(void)
{
	kthread_stop(task);
}

module_init(errptr_init);
module_exit(errptr_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Takes an ERR_PTR for a pointer");
