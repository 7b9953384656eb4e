// SPDX-License-Identifier: GPL-2.0
/* A work item takes the lock for its update, a timer does not: it thinks that its softirq is enough. */
#include "own.h"

static DEFINE_SPINLOCK(guard);
static struct { int ready, credit; } state;
static struct timer_list timer;
static void spend(struct work_struct *work);
static DECLARE_DELAYED_WORK(work, spend);
static void spend(struct work_struct *unused)
{
	spin_lock_bh(&guard);
	if (state.credit > 2)
		state.credit -= 2;
	spin_unlock_bh(&guard);
	schedule_delayed_work_on(1, &work, 1);
}
static void earn(struct timer_list *unused)
{
	int credit;

	IF_RIGHT(spin_lock(&guard));
	credit = state.credit;
	barrier();
	state.credit = credit + 1; /* the race */
	IF_RIGHT(spin_unlock(&guard));
	mod_timer(&timer, jiffies + 1);
}
static int __init start(void)
{
	timer_setup(&timer, earn, 0);
	mod_timer(&timer, jiffies + 1);
	schedule_delayed_work_on(1, &work, 1);
	return 0;
}
static void __exit stop(void)
{
	timer_shutdown_sync(&timer);
	cancel_delayed_work_sync(&work);
	pr_info("halves: %d\n", state.credit);
}
module_init(start);
module_exit(stop);
