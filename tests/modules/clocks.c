// SPDX-License-Identifier: GPL-2.0
/* Measures one way of waiting against jiffies and ktime_get(), in init: "what took NS ns, N jiffies". */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/hrtimer.h>
#include <linux/jiffies.h>
#include <linux/module.h>
#include <linux/timer.h>
#include <linux/version.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

static char *what = "msleep";
module_param(what, charp, 0444);

static uint ms = 100;
module_param(ms, uint, 0444);

static DECLARE_COMPLETION(clocks_done);
static ktime_t clocks_end;
static unsigned long clocks_end_jiffies;

static void clocks_finish(void)
{
	clocks_end = ktime_get();
	clocks_end_jiffies = jiffies;
	complete(&clocks_done);
}

static void clocks_timer_fired(struct timer_list *unused)
{
	clocks_finish();
}

static enum hrtimer_restart clocks_hrtimer_fired(struct hrtimer *unused)
{
	clocks_finish();
	return HRTIMER_NORESTART;
}

static void clocks_worked(struct work_struct *unused)
{
	clocks_finish();
}

static DEFINE_TIMER(clocks_timer, clocks_timer_fired);
static struct hrtimer clocks_hrtimer;
static DECLARE_DELAYED_WORK(clocks_work, clocks_worked);
static DECLARE_WAIT_QUEUE_HEAD(clocks_queue);

static int clocks_wait(void)
{
	unsigned long end = jiffies + msecs_to_jiffies(ms);

	if (!strcmp(what, "msleep")) {
		msleep(ms);
	} else if (!strcmp(what, "usleep_range")) {
		usleep_range(ms * 1000, ms * 1000 + 10);
	} else if (!strcmp(what, "mdelay")) {
		mdelay(ms);
	} else if (!strcmp(what, "udelay")) {
		uint i;

		for (i = 0; i < ms * 10; i++)
			udelay(100);
	} else if (!strcmp(what, "schedule_timeout")) {
		schedule_timeout_uninterruptible(msecs_to_jiffies(ms));
	} else if (!strcmp(what, "wait_event_timeout")) {
		wait_event_timeout(clocks_queue, false, msecs_to_jiffies(ms));
	} else if (!strcmp(what, "busy")) {
		while (time_before(jiffies, end))
			;
	} else if (!strcmp(what, "timer")) {
		mod_timer(&clocks_timer, end);
		wait_for_completion(&clocks_done);
		return 1;
	} else if (!strcmp(what, "hrtimer")) {
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 13, 0)
		hrtimer_setup(&clocks_hrtimer, clocks_hrtimer_fired, CLOCK_MONOTONIC, HRTIMER_MODE_REL);
#else
		hrtimer_init(&clocks_hrtimer, CLOCK_MONOTONIC, HRTIMER_MODE_REL);
		clocks_hrtimer.function = clocks_hrtimer_fired;
#endif
		hrtimer_start(&clocks_hrtimer, ms_to_ktime(ms), HRTIMER_MODE_REL);
		wait_for_completion(&clocks_done);
		return 1;
	} else if (!strcmp(what, "delayed_work")) {
		schedule_delayed_work(&clocks_work, msecs_to_jiffies(ms));
		wait_for_completion(&clocks_done);
		return 1;
	} else {
		return -EINVAL;
	}
	return 0;
}

static int __init clocks_init(void)
{
	ktime_t start = ktime_get();
	unsigned long start_jiffies = jiffies;
	int result;

	pr_info("begin %s\n", what);
	result = clocks_wait();
	if (result < 0)
		return result;
	if (!result)
		clocks_finish();
	pr_info("%s took %lld ns, %lu jiffies at HZ %d\n", what, ktime_to_ns(ktime_sub(clocks_end, start)),
		clocks_end_jiffies - start_jiffies, HZ);
	return 0;
}

static void __exit clocks_exit(void)
{
}

module_init(clocks_init);
module_exit(clocks_exit);
MODULE_LICENSE("GPL");
