// SPDX-License-Identifier: GPL-2.0
/*
 * Memory that is freed while the kernel still has it on a list or in a queue, and writes there later by itself. `what` names
 * the case, right=1 does it right. The comments say where it is made and freed, and where the kernel is made to look there.
 */
#include <linux/delay.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/timer.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

static char *what = "";
module_param(what, charp, 0);
static bool right;
module_param(right, bool, 0);

struct thing {
	char name[24];
	union {
		struct timer_list timer;
		struct work_struct work;
		struct rcu_head rcu;
		struct wait_queue_entry entry;
		struct miscdevice misc;
	};
};

static DECLARE_WAIT_QUEUE_HEAD(queue);
static struct wait_queue_entry other_entry;
static const struct file_operations no_operations = { .owner = THIS_MODULE };
static struct miscdevice other_misc = { .minor = MISC_DYNAMIC_MINOR, .name = "late_other", .fops = &no_operations };

static void on_timer(struct timer_list *timer)
{
}

static void on_work(struct work_struct *work)
{
}

static void on_rcu(struct rcu_head *head)
{
}

static void construct(void *p)
{
	memset(p, 0, sizeof(struct thing));
}

static noinline void late_timer(void)
{
	struct thing *p = kzalloc(sizeof(*p), GFP_KERNEL); /* late_timer: made */

	timer_setup(&p->timer, on_timer, 0);
	mod_timer(&p->timer, jiffies + HZ / 10);
	if (right)
		del_timer_sync(&p->timer);
	kfree(p); /* late_timer: freed */
	msleep(300);
}

static noinline void late_work(void)
{
	struct thing *p = kzalloc(sizeof(*p), GFP_KERNEL); /* late_work: made */

	INIT_WORK(&p->work, on_work);
	schedule_work(&p->work);
	if (right)
		cancel_work_sync(&p->work);
	kfree(p); /* late_work: freed */
	msleep(100);
}

static noinline void late_rcu(void)
{
	struct thing *p = kzalloc(sizeof(*p), GFP_KERNEL); /* late_rcu: made */

	call_rcu(&p->rcu, on_rcu);
	if (right)
		rcu_barrier();
	kfree(p); /* late_rcu: freed */
	rcu_barrier();
}

static noinline void late_constructed(void)
{
	struct kmem_cache *cache = kmem_cache_create("late", sizeof(struct thing), 0, 0, construct);
	struct thing *p = kmem_cache_alloc(cache, GFP_KERNEL); /* late_constructed: made */

	call_rcu(&p->rcu, on_rcu);
	if (right)
		rcu_barrier();
	kmem_cache_free(cache, p); /* late_constructed: freed */
	rcu_barrier();
	p = kmem_cache_alloc(cache, GFP_KERNEL);
	WARN_ON(p->name[0]); /* what is given out again is as it was constructed */
	kmem_cache_free(cache, p);
	kmem_cache_destroy(cache);
}

static noinline void late_wait(void)
{
	struct thing *p = kzalloc(sizeof(*p), GFP_KERNEL); /* late_wait: made */

	init_waitqueue_entry(&p->entry, current);
	add_wait_queue(&queue, &p->entry);
	if (right)
		remove_wait_queue(&queue, &p->entry);
	kfree(p); /* late_wait: freed */
	init_waitqueue_entry(&other_entry, current);
	add_wait_queue(&queue, &other_entry); /* late_wait: used */
	remove_wait_queue(&queue, &other_entry);
}

static noinline void late_misc(void)
{
	struct thing *p = kzalloc(sizeof(*p), GFP_KERNEL); /* late_misc: made */

	p->misc.minor = MISC_DYNAMIC_MINOR;
	p->misc.name = "late";
	p->misc.fops = &no_operations;
	misc_register(&p->misc);
	if (right)
		misc_deregister(&p->misc);
	kfree(p); /* late_misc: freed */
	misc_register(&other_misc); /* late_misc: used */
	misc_deregister(&other_misc);
}

static int __init late_init(void)
{
	if (!strcmp(what, "timer"))
		late_timer();
	else if (!strcmp(what, "work"))
		late_work();
	else if (!strcmp(what, "rcu"))
		late_rcu();
	else if (!strcmp(what, "constructed"))
		late_constructed();
	else if (!strcmp(what, "wait"))
		late_wait();
	else if (!strcmp(what, "misc"))
		late_misc();
	return 0;
}

static void __exit late_exit(void)
{
}

module_init(late_init);
module_exit(late_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Frees what the kernel still has");
