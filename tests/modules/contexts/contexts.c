// SPDX-License-Identifier: GPL-2.0
/* Does one thing (`what`) where it must not be done, and with `good` where it may. Some want the file read. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/hrtimer.h>
#include <linux/interrupt.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/proc_fs.h>
#include <linux/rcupdate.h>
#include <linux/rwsem.h>
#include <linux/semaphore.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/timer.h>
#include <linux/uaccess.h>
#include <linux/version.h>
#include <linux/vmalloc.h>
#include <linux/workqueue.h>

static char *what = "";
module_param(what, charp, 0444);
static bool good;
module_param(good, bool, 0444);

static DEFINE_SPINLOCK(ctx_lock);
static DEFINE_SPINLOCK(ctx_other);
static DEFINE_RWLOCK(ctx_rwlock);
static DEFINE_MUTEX(ctx_mutex);
static DEFINE_MUTEX(ctx_second);
static DECLARE_RWSEM(ctx_rwsem);
static DEFINE_SEMAPHORE(ctx_semaphore
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 4, 0)
, 1
#endif
);
static volatile int ctx_sink;

static noinline void ctx_allocate(gfp_t flags)
{
	kfree(kmalloc(100 + ctx_sink, flags));	/* allocates */
}

static void ctx_msleep(void)
{
	spin_lock(&ctx_lock);	/* locks for msleep */
	if (!good)
		msleep(1);	/* sleeps msleep */
	spin_unlock(&ctx_lock);
	msleep(1);
}

static void ctx_gfp(void)
{
	spin_lock(&ctx_lock);
	ctx_allocate(good ? GFP_ATOMIC : GFP_KERNEL);
	spin_unlock(&ctx_lock);
}

static void ctx_mutex_in_spinlock(void)
{
	unsigned long flags;

	if (good)
		mutex_lock(&ctx_mutex);
	spin_lock_irqsave(&ctx_lock, flags);
	if (!good)
		mutex_lock(&ctx_mutex);	/* takes the mutex */
	ctx_sink++;
	if (!good)
		mutex_unlock(&ctx_mutex);
	spin_unlock_irqrestore(&ctx_lock, flags);
	if (good)
		mutex_unlock(&ctx_mutex);
}

static void ctx_rcu_sleep(void)
{
	rcu_read_lock();	/* reads */
	if (!good)
		ctx_allocate(GFP_KERNEL);
	rcu_read_unlock();
	ctx_allocate(GFP_KERNEL);
}

static void ctx_preempt_sleep(void)
{
	preempt_disable();	/* disables preemption */
	if (!good)
		vfree(vmalloc(100));	/* vmallocs */
	preempt_enable();
	vfree(vmalloc(100));
}

static void ctx_irq_sleep(void)
{
	unsigned long flags;

	local_irq_save(flags);	/* disables interrupts */
	if (!good)
		synchronize_rcu();	/* synchronizes */
	local_irq_restore(flags);
	synchronize_rcu();
}

static DECLARE_COMPLETION(ctx_fired);
static void ctx_timer_fired(struct timer_list *unused)
{
	ctx_allocate(good ? GFP_ATOMIC : GFP_KERNEL);	/* in the timer */
	complete(&ctx_fired);
}
static DEFINE_TIMER(ctx_timer, ctx_timer_fired);
static void ctx_in_timer(void)
{
	mod_timer(&ctx_timer, jiffies + 2);
	wait_for_completion(&ctx_fired);
	timer_shutdown_sync(&ctx_timer);
}

static void ctx_held(void)
{
	mutex_lock(&ctx_mutex);	/* holds on */
	ctx_sink++;
	if (good)
		mutex_unlock(&ctx_mutex);
}

static void ctx_rcu_open(void)
{
	rcu_read_lock();	/* opens */
	ctx_sink++;
	if (good)
		rcu_read_unlock();
}

static void ctx_preempt_open(void)
{
	preempt_disable();	/* leaves preemption off */
	ctx_sink++;
	if (good)
		preempt_enable();
}

static noinline int ctx_rcu_early(void)
{
	rcu_read_lock();	/* opens, and leaves early */
	if (READ_ONCE(ctx_sink) < 1000) {
		if (!good)
			return -ERANGE;
		rcu_read_unlock();
		return -EINVAL;
	}
	ctx_sink++;
	rcu_read_unlock();
	return 1;
}

static void ctx_rcu_left(void)
{
	ctx_sink ^= ctx_rcu_early() & 1;
}

static noinline int ctx_preempt_early(void)
{
	preempt_disable();	/* disables, and leaves early */
	if (READ_ONCE(ctx_sink) < 1000) {
		if (!good)
			return -ENODEV;
		preempt_enable();
		return -EBUSY;
	}
	ctx_sink += 3;
	preempt_enable();
	return 1;
}

static void ctx_preempt_left(void)
{
	ctx_sink ^= ctx_preempt_early() & 1;
}

static void ctx_double_unlock(void)
{
	mutex_lock(&ctx_mutex);
	mutex_unlock(&ctx_mutex);
	if (!good)
		mutex_unlock(&ctx_mutex);	/* unlocks again */
}

static void ctx_double_spin_unlock(void)
{
	spin_lock(&ctx_lock);
	spin_unlock(&ctx_lock);
	if (good)
		return;
	preempt_disable();
	spin_unlock(&ctx_lock);	/* releases again */
}

static void ctx_self(void)
{
	if (good) {
		if (mutex_trylock(&ctx_mutex))
			mutex_unlock(&ctx_mutex);
		return;
	}
	mutex_lock(&ctx_mutex);	/* first of the mutex */
	if (mutex_lock_killable(&ctx_mutex) == 0)	/* second of the mutex */
		mutex_unlock(&ctx_mutex);
	mutex_unlock(&ctx_mutex);
}

static void ctx_self_spin(void)
{
	spin_lock(&ctx_lock);	/* first of the spinlock */
	if (!good)
		spin_lock(&ctx_lock);	/* second of the spinlock */
	spin_unlock(&ctx_lock);
}

static noinline void ctx_one_way(void)
{
	mutex_lock(&ctx_mutex);
	mutex_lock(&ctx_second);	/* second inside */
	ctx_sink++;
	mutex_unlock(&ctx_second);
	mutex_unlock(&ctx_mutex);
}

static noinline void ctx_other_way(void)
{
	mutex_lock(&ctx_second);
	mutex_lock(&ctx_mutex);	/* first inside */
	ctx_sink++;
	mutex_unlock(&ctx_mutex);
	mutex_unlock(&ctx_second);
}

static void ctx_order(void)
{
	ctx_one_way();
	if (good)
		ctx_one_way();
	else
		ctx_other_way();
}

static noinline void ctx_spin_one_way(void)
{
	spin_lock(&ctx_lock);
	spin_lock(&ctx_other);	/* other inside */
	ctx_sink++;
	spin_unlock(&ctx_other);
	spin_unlock(&ctx_lock);
}

static noinline void ctx_spin_other_way(void)
{
	spin_lock(&ctx_other);
	spin_lock(&ctx_lock);	/* lock inside */
	ctx_sink++;
	spin_unlock(&ctx_lock);
	spin_unlock(&ctx_other);
}

static void ctx_spin_order(void)
{
	if (good)
		mutex_lock(&ctx_second);	/* what is always held outside makes any order good */
	ctx_spin_one_way();
	ctx_spin_other_way();
	if (good)
		mutex_unlock(&ctx_second);
}

static void ctx_irqs_off(void)
{
	unsigned long flags;

	spin_lock_irqsave(&ctx_lock, flags);	/* locks for long */
	mdelay(good ? 1 : 50);
	spin_unlock_irqrestore(&ctx_lock, flags);	/* ends */
}

static void ctx_cli(void)
{
	local_irq_disable();	/* clears the flag */
	mdelay(good ? 1 : 50);
	local_irq_enable();	/* sets the flag */
}

static noinline void ctx_use(char *room)
{
	ctx_sink += room[ctx_sink & 7];
}

static noinline int ctx_recurse(int depth)
{	/* makes a large frame */
	char room[900];

	memset(room, depth, sizeof(room));
	ctx_use(room);
	return depth ? ctx_recurse(depth - 1) + room[depth] : 0;	/* recurses */
}

static void ctx_deep(void)
{
	ctx_sink += ctx_recurse(good ? 2 : 9);
}

static struct hrtimer ctx_clock;
static enum hrtimer_restart ctx_clock_fired(struct hrtimer *unused)
{
	spin_lock(&ctx_lock);	/* takes it in the interrupt */
	ctx_sink++;
	spin_unlock(&ctx_lock);
	return HRTIMER_NORESTART;
}

static void ctx_irq_unsafe(void)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 13, 0)
	hrtimer_setup(&ctx_clock, ctx_clock_fired, CLOCK_MONOTONIC, HRTIMER_MODE_REL_HARD);
#else
	hrtimer_init(&ctx_clock, CLOCK_MONOTONIC, HRTIMER_MODE_REL_HARD);
	ctx_clock.function = ctx_clock_fired;
#endif
	hrtimer_start(&ctx_clock, ms_to_ktime(1), HRTIMER_MODE_REL_HARD);
	msleep(10);
	hrtimer_cancel(&ctx_clock);
	if (good)
		spin_lock_irq(&ctx_lock);
	else
		spin_lock(&ctx_lock);	/* takes it with interrupts on */
	ctx_sink++;
	if (good)
		spin_unlock_irq(&ctx_lock);
	else
		spin_unlock(&ctx_lock);
}

static void ctx_all_locks(void)
{
	unsigned long flags;

	spin_lock_bh(&ctx_lock);
	read_lock(&ctx_rwlock);
	read_lock(&ctx_rwlock);
	ctx_allocate(GFP_ATOMIC);
	read_unlock(&ctx_rwlock);
	read_unlock(&ctx_rwlock);
	write_lock_irqsave(&ctx_rwlock, flags);
	write_unlock_irqrestore(&ctx_rwlock, flags);
	spin_unlock_bh(&ctx_lock);
	if (spin_trylock(&ctx_other))
		spin_unlock(&ctx_other);
	down_write(&ctx_rwsem);
	downgrade_write(&ctx_rwsem);
	ctx_allocate(GFP_KERNEL);
	up_read(&ctx_rwsem);
	down_read(&ctx_rwsem);
	up_read(&ctx_rwsem);
	down(&ctx_semaphore);
	up(&ctx_semaphore);
	if (!mutex_lock_interruptible(&ctx_mutex))
		mutex_unlock(&ctx_mutex);
	rcu_read_lock();
	rcu_read_lock();
	rcu_read_unlock();
	rcu_read_unlock();
	preempt_disable();
	preempt_disable();
	preempt_enable();
	preempt_enable();
	local_irq_save(flags);
	local_irq_restore(flags);
}

static const struct {
	const char *name;
	void (*act)(void);
} ctx_acts[] = {
	{ "msleep", ctx_msleep }, { "gfp", ctx_gfp }, { "mutex_in_spinlock", ctx_mutex_in_spinlock },
	{ "rcu_sleep", ctx_rcu_sleep }, { "preempt_sleep", ctx_preempt_sleep }, { "irq_sleep", ctx_irq_sleep },
	{ "in_timer", ctx_in_timer }, { "held", ctx_held }, { "rcu_open", ctx_rcu_open }, { "preempt_open", ctx_preempt_open },
	{ "rcu_left", ctx_rcu_left }, { "preempt_left", ctx_preempt_left },
	{ "double_unlock", ctx_double_unlock }, { "double_spin_unlock", ctx_double_spin_unlock }, { "self", ctx_self },
	{ "self_spin", ctx_self_spin }, { "order", ctx_order }, { "spin_order", ctx_spin_order },
	{ "irqs_off", ctx_irqs_off }, { "cli", ctx_cli }, { "deep", ctx_deep }, { "irq_unsafe", ctx_irq_unsafe },
	{ "all_locks", ctx_all_locks },
};

static noinline void ctx_act(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(ctx_acts); i++)
		if (!strcmp(what, ctx_acts[i].name))
			ctx_acts[i].act();
}

static ssize_t ctx_read(struct file *file, char __user *buffer, size_t size, loff_t *position)
{
	if (!strcmp(what, "fault")) {
		int gone;

		spin_lock(&ctx_lock);
		if (!good)
			gone = copy_to_user(buffer, "x", 1);	/* copies */
		spin_unlock(&ctx_lock);
		if (good)
			gone = copy_to_user(buffer, "x", 1);
		return gone ? -EFAULT : 0;
	}
	ctx_act();
	return 0;
}
static const struct proc_ops ctx_proc_ops = { .proc_read = ctx_read };

static bool in_read;
module_param(in_read, bool, 0444);

static int __init ctx_init(void)
{
	if (!proc_create("contexts", 0444, NULL, &ctx_proc_ops))
		return -ENOMEM;
	if (!in_read)
		ctx_act();
	return 0;
}

static void __exit ctx_exit(void)
{
	remove_proc_entry("contexts", NULL);
}

module_init(ctx_init);
module_exit(ctx_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Does things where they must not be done");
