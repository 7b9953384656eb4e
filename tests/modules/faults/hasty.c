// SPDX-License-Identifier: GPL-2.0
/*
 * Its exit frees what a thread and a work item use, and only then waits for them. Mostly that goes well: both sleep nearly
 * always, and look no more at it when they are told to stop.
 */
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/workqueue.h>

struct counts {
	int all, odd;
};

static bool thread;
module_param(thread, bool, 0);

static struct counts *counts; /* of whichever of them runs */
static struct task_struct *task;

static noinline void count_one(struct counts *mine)
{
	WRITE_ONCE(mine->all, mine->all + 1);
	if (READ_ONCE(mine->all) & 1) /* used */
		WRITE_ONCE(mine->odd, mine->odd + 1);
}

static int hasty_thread(void *data)
{
	while (!kthread_should_stop()) {
		count_one(data);
		msleep(100);
	}
	return 0;
}

static void hasty_work(struct work_struct *work);
static DECLARE_DELAYED_WORK(again, hasty_work);

static void hasty_work(struct work_struct *work)
{
	count_one(counts);
	schedule_delayed_work(&again, HZ / 10);
}

static int __init hasty_init(void)
{
	counts = kzalloc(sizeof(*counts), GFP_KERNEL); /* made */
	if (!counts)
		return -ENOMEM;
	if (thread) {
		task = kthread_run(hasty_thread, counts, "hasty");
		if (IS_ERR(task)) {
			kfree(counts);
			return PTR_ERR(task);
		}
	} else {
		schedule_delayed_work(&again, HZ / 10);
	}
	return 0;
}

static void hasty_stop(void)
{
	if (thread)
		kthread_stop(task);
	else
		cancel_delayed_work_sync(&again);
}

static void __exit hasty_exit(void)
{
#ifdef RIGHT
	hasty_stop();
	kfree(counts);
#else
	kfree(counts); /* freed */
	hasty_stop();
#endif
}

module_init(hasty_init);
module_exit(hasty_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Frees first, and waits then");
