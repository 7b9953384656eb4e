// SPDX-License-Identifier: GPL-2.0
/* A thread walks a list under RCU, and a timer takes entries away and frees them at once. */
#include "own.h"

struct entry { struct list_head link; struct rcu_head rcu; unsigned long value; };
static LIST_HEAD(entries);
static DEFINE_SPINLOCK(guard);
static struct task_struct *walker;
static struct timer_list timer;
static unsigned long total;
static int walk(void *unused)
{
	struct entry *entry;

	while (!kthread_should_stop()) {
		rcu_read_lock();
		list_for_each_entry_rcu(entry, &entries, link)
			total += entry->value; /* the race */
		rcu_read_unlock();
		usleep_range(200, 300);
	}
	return 0;
}
static void add(void)
{
	struct entry *entry = kzalloc(sizeof(*entry), GFP_ATOMIC);

	if (!entry)
		return;
	entry->value = jiffies & 7;
	list_add_tail_rcu(&entry->link, &entries);
}
static void replace(struct timer_list *unused)
{
	struct entry *oldest;

	spin_lock(&guard);
	oldest = list_first_entry_or_null(&entries, struct entry, link);
	if (oldest) {
		list_del_rcu(&oldest->link);
		IF_RIGHT(kfree_rcu(oldest, rcu));
		IF_WRONG(kfree(oldest));
	}
	add();
	spin_unlock(&guard);
	mod_timer(&timer, jiffies + 1);
}
static int __init start(void)
{
	int n;

	for (n = 0; n < 3; n++)
		add();
	walker = kthread_run(walk, NULL, "entries");
	if (IS_ERR(walker))
		return PTR_ERR(walker);
	timer_setup(&timer, replace, 0);
	mod_timer(&timer, jiffies + 1);
	return 0;
}
static void __exit stop(void)
{
	struct entry *entry, *next;

	timer_shutdown_sync(&timer);
	kthread_stop(walker);
	rcu_barrier();
	list_for_each_entry_safe(entry, next, &entries, link)
		kfree(entry);
	pr_info("entries: %lu\n", total);
}
module_init(start);
module_exit(stop);
