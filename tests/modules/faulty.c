// SPDX-License-Identifier: GPL-2.0
/* Everything that can go wrong: `what` happens in init, in exit, in a timer or in a work item (`where`). */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt
#include <linux/delay.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/timer.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

static char *what = "";
module_param(what, charp, 0444);

static char *where = "init";
module_param(where, charp, 0444);

static DEFINE_SPINLOCK(faulty_spinlock);
static DEFINE_MUTEX(faulty_mutex);
static DECLARE_WAIT_QUEUE_HEAD(faulty_queue);
static volatile int faulty_never;
static volatile int faulty_sink;

static const char faulty_names[] = "read only";

static noinline void faulty_null(void)
{
	*(volatile int *)16 = 1;
}

static noinline void faulty_wild(void)
{
	faulty_sink = *(volatile int *)0xdead000000000100;
}

static noinline void faulty_jump(void)
{
	((void (*)(void))0x1234)();
	faulty_sink++;
}

static noinline void faulty_readonly(void)
{
	*(volatile char *)(unsigned long)faulty_names = 0;
}

static noinline void faulty_divide(void)
{
	faulty_sink = 7 / faulty_never;
}

static noinline void faulty_bug(void)
{
	BUG();
}

static noinline void faulty_warn(void)
{
	WARN(1, "something is odd\n");
}

static noinline void faulty_panic(void)
{
	panic("faulty wants it so");
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Winfinite-recursion"
static noinline int faulty_recurse(int depth)
{
	volatile char room[512];

	room[depth & 511] = depth;
	return faulty_recurse(depth + 1) + room[depth & 255];
}
#pragma GCC diagnostic pop

static noinline void faulty_loop(void)
{
	while (!faulty_never)
		;
}

static noinline void faulty_loop_irqoff(void)
{
	local_irq_disable();
	while (!faulty_never)
		cpu_relax();
	local_irq_enable();
}

static noinline void faulty_halt(void)
{
	local_irq_disable();
#ifdef CONFIG_X86
	asm volatile("hlt");
#endif
	local_irq_enable();
}

static noinline void faulty_spin_twice(void)
{
	spin_lock(&faulty_spinlock);
	spin_lock(&faulty_spinlock);
}

static noinline void faulty_lock_twice(void)
{
	mutex_lock(&faulty_mutex);
	mutex_lock(&faulty_mutex);
}

static noinline void faulty_sleep_forever(void)
{
	wait_event(faulty_queue, faulty_never);
}

static noinline void faulty_sleep_atomic(void)
{
	spin_lock(&faulty_spinlock);
	msleep(10);
	spin_unlock(&faulty_spinlock);
}

static noinline void faulty_eat(void)
{
	void **last = NULL, **more;

	while ((more = kmalloc(PAGE_SIZE, GFP_KERNEL | __GFP_NOWARN))) {
		*more = last;
		last = more;
	}
	pr_info("all memory is used\n");
	while (last) {
		more = *last;
		kfree(last);
		last = more;
	}
}

static noinline void faulty_loop_forever_allocating(void)
{
	while (kmalloc(PAGE_SIZE, GFP_KERNEL | __GFP_NOFAIL))
		;
}

static noinline void faulty_double_free(void)
{
	void *twice = kmalloc(64, GFP_KERNEL);

	kfree(twice);
	kfree(twice);
}

static noinline void faulty_list(void)
{
	LIST_HEAD(head);
	struct list_head entry;

	list_add(&entry, &head);
	list_del(&entry);
	list_del(&entry);
}

static const struct {
	const char *name;
	void (*function)(void);
} faulty_table[] = {
	{ "null", faulty_null },
	{ "wild", faulty_wild },
	{ "jump", faulty_jump },
	{ "readonly", faulty_readonly },
	{ "divide", faulty_divide },
	{ "bug", faulty_bug },
	{ "warn", faulty_warn },
	{ "panic", faulty_panic },
	{ "loop", faulty_loop },
	{ "loop_irqoff", faulty_loop_irqoff },
	{ "halt", faulty_halt },
	{ "spin_twice", faulty_spin_twice },
	{ "lock_twice", faulty_lock_twice },
	{ "sleep_forever", faulty_sleep_forever },
	{ "sleep_atomic", faulty_sleep_atomic },
	{ "eat", faulty_eat },
	{ "nofail", faulty_loop_forever_allocating },
	{ "double_free", faulty_double_free },
	{ "list", faulty_list },
};

static noinline void faulty_act(void)
{
	int i;

	if (!strcmp(what, "overflow"))
		faulty_sink = faulty_recurse(0);
	for (i = 0; i < ARRAY_SIZE(faulty_table); i++)
		if (!strcmp(what, faulty_table[i].name))
			faulty_table[i].function();
}

static void faulty_timer_fired(struct timer_list *unused)
{
	faulty_act();
}
static DEFINE_TIMER(faulty_timer, faulty_timer_fired);

static void faulty_worked(struct work_struct *unused)
{
	faulty_act();
}
static DECLARE_WORK(faulty_work, faulty_worked);

static int __init faulty_init(void)
{
	if (!strcmp(where, "init"))
		faulty_act();
	if (!strcmp(where, "timer"))
		mod_timer(&faulty_timer, jiffies + HZ / 10);
	if (!strcmp(where, "work"))
		schedule_work(&faulty_work);
	return 0;
}

static void __exit faulty_exit(void)
{
	if (!strcmp(where, "exit"))
		faulty_act();
}

module_init(faulty_init);
module_exit(faulty_exit);
MODULE_LICENSE("GPL");
