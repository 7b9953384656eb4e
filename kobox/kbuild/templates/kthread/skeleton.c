// SPDX-License-Identifier: GPL-2.0
/*
 * skeleton: three ways to do something later.
 *
 * A timer goes off every `period` ms, in softirq context, where nothing may
 * sleep. It queues work, which a worker thread does, and which may sleep. A
 * kernel thread of our own waits for the work's results.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/delay.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/timer.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

static unsigned int period = 100;
module_param(period, uint, 0444);
MODULE_PARM_DESC(period, "milliseconds from one tick to the next");

static atomic_t ticks = ATOMIC_INIT(0);
static atomic_t works = ATOMIC_INIT(0);
static unsigned int seen;	/* of the thread alone */

static DECLARE_WAIT_QUEUE_HEAD(results);
static struct task_struct *thread;
static struct workqueue_struct *queue;

static void skeleton_work(struct work_struct *work)
{
	msleep(1);	/* may sleep, so it does */
	atomic_inc(&works);
	wake_up(&results);
}
static DECLARE_WORK(work, skeleton_work);

static void skeleton_tick(struct timer_list *timer)
{
	atomic_inc(&ticks);
	queue_work(queue, &work);
	mod_timer(timer, jiffies + msecs_to_jiffies(period));
}
static DEFINE_TIMER(timer, skeleton_tick);

static int skeleton_thread(void *unused)
{
	/* kthread_stop() wakes us, and waits until we return. */
	while (!kthread_should_stop()) {
		wait_event_interruptible(results,
					 atomic_read(&works) != seen ||
					 kthread_should_stop());
		seen = atomic_read(&works);
	}
	return 0;
}

static int __init skeleton_init(void)
{
	if (!period)
		return -EINVAL;
	queue = alloc_workqueue("skeleton", WQ_UNBOUND, 1);
	if (!queue)
		return -ENOMEM;
	thread = kthread_run(skeleton_thread, NULL, "skeleton");
	if (IS_ERR(thread)) {
		destroy_workqueue(queue);
		return PTR_ERR(thread);
	}
	mod_timer(&timer, jiffies + msecs_to_jiffies(period));
	return 0;
}

static void __exit skeleton_exit(void)
{
	/*
	 * In the order of who starts whom: no more ticks, so no more work, so
	 * nobody wakes the thread but we. After each line nothing of it runs.
	 * (timer_shutdown_sync() also ignores a mod_timer() that comes late.)
	 */
	timer_shutdown_sync(&timer);
	destroy_workqueue(queue);
	kthread_stop(thread);
	pr_info("%d ticks, %d works, %u seen\n", atomic_read(&ticks),
		atomic_read(&works), seen);
}

module_init(skeleton_init);
module_exit(skeleton_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A timer, a workqueue and a kernel thread");
