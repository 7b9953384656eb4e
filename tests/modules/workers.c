// SPDX-License-Identifier: GPL-2.0
/* A kthread that ticks each second and hands each tick to a workqueue of its own; a delayed work; a periodic hrtimer. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/workqueue.h>

static int ticks;
module_param(ticks, int, 0444);

static int worked;
module_param(worked, int, 0444);

static int late;
module_param(late, int, 0444);

static struct task_struct *workers_thread;
static struct workqueue_struct *workers_queue;
static DECLARE_COMPLETION(workers_started);

static void workers_work_fn(struct work_struct *work)
{
	worked++;
}
static DECLARE_WORK(workers_work, workers_work_fn);

static void workers_late_fn(struct work_struct *work)
{
	late++;
	pr_info("late work ran in %s\n", current->flags & PF_WQ_WORKER ? "a worker" : "another task");
}
static DECLARE_DELAYED_WORK(workers_late, workers_late_fn);

static int workers_main(void *unused)
{
	complete(&workers_started);
	while (!kthread_should_stop()) {
		ticks++;
		queue_work(workers_queue, &workers_work);
		schedule_timeout_interruptible(HZ);
	}
	pr_info("thread stops after %d ticks\n", ticks);
	return 5;
}

static int __init workers_init(void)
{
	workers_queue = alloc_ordered_workqueue("workers", 0);
	if (!workers_queue)
		return -ENOMEM;
	workers_thread = kthread_run(workers_main, NULL, "workers/%d", 1);
	if (IS_ERR(workers_thread)) {
		destroy_workqueue(workers_queue);
		return PTR_ERR(workers_thread);
	}
	wait_for_completion(&workers_started);
	queue_delayed_work(workers_queue, &workers_late, 3 * HZ + HZ / 2);
	return 0;
}

static void __exit workers_exit(void)
{
	pr_info("thread returned %d\n", kthread_stop(workers_thread));
	cancel_delayed_work_sync(&workers_late);
	destroy_workqueue(workers_queue);
}

module_init(workers_init);
module_exit(workers_exit);
MODULE_LICENSE("GPL");
