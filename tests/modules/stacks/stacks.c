// SPDX-License-Identifier: GPL-2.0
/* The kernel's own trace from every kind of place: init, exit, an interrupt, a timer, a work item, a file. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt
#include <linux/delay.h>
#include <linux/hrtimer.h>
#include <linux/module.h>
#include <linux/timer.h>
#include <linux/version.h>
#include <linux/workqueue.h>

static volatile int stacks_depth;

static noinline void stacks_show(const char *where)
{
	pr_info("trace from %s\n", where);
	dump_stack();
	stacks_depth--;
}

static noinline void stacks_deeper(const char *where, int more)
{
	volatile char room[96];

	room[0] = more;
	if (more)
		stacks_deeper(where, more - 1);
	else
		stacks_show(where);
	stacks_depth += room[0];
}

static noinline void stacks_by_frame_pointer(const char *where, int size)
{
	volatile char room[size];

	room[0] = size;
	stacks_deeper(where, 2);
	stacks_depth += room[0];
}

static void stacks_timer_fired(struct timer_list *unused)
{
	stacks_deeper("timer", 1);
}
static DEFINE_TIMER(stacks_timer, stacks_timer_fired);

static enum hrtimer_restart stacks_clock_fired(struct hrtimer *unused)
{
	stacks_by_frame_pointer("interrupt", 16);
	return HRTIMER_NORESTART;
}
static struct hrtimer stacks_clock;

static void stacks_worked(struct work_struct *unused)
{
	stacks_by_frame_pointer("work", 40);
}
static DECLARE_WORK(stacks_work, stacks_worked);

static int stacks_shown(char *buffer, const struct kernel_param *kp)
{
	WARN(1, "trace from file\n");
	return 0;
}

static const struct kernel_param_ops stacks_ops = { .get = stacks_shown };
module_param_cb(file, &stacks_ops, NULL, 0444);

static int __init stacks_init(void)
{
	stacks_by_frame_pointer("init", 24);
	mod_timer(&stacks_timer, jiffies + HZ / 20);
	schedule_work(&stacks_work);
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 13, 0)
	hrtimer_setup(&stacks_clock, stacks_clock_fired, CLOCK_MONOTONIC, HRTIMER_MODE_REL_HARD);
#else
	hrtimer_init(&stacks_clock, CLOCK_MONOTONIC, HRTIMER_MODE_REL_HARD);
	stacks_clock.function = stacks_clock_fired;
#endif
	hrtimer_start(&stacks_clock, ms_to_ktime(20), HRTIMER_MODE_REL_HARD);
	mdelay(100);	/* the clock's interrupt finds the CPU here */
	return 0;
}

static void __exit stacks_exit(void)
{
	timer_shutdown_sync(&stacks_timer);
	cancel_work_sync(&stacks_work);
	hrtimer_cancel(&stacks_clock);
	stacks_show("exit");
}

module_init(stacks_init);
module_exit(stacks_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Traces from everywhere");
