// SPDX-License-Identifier: GPL-2.0
#include "own.h"
/* The exit frees work that may be running, and queues itself again. */
struct poller { struct delayed_work work; int ticks; bool stop; };
static struct poller *p;
static void tick(struct work_struct *w)
{
	struct poller *q = container_of(to_delayed_work(w), struct poller, work);
	q->ticks++;
	if (!q->stop) /* the race */
		schedule_delayed_work(&q->work, HZ / 50); /* the race */
}
static int __init r_init(void)
{
	p = kzalloc(sizeof(*p), GFP_KERNEL);
	if (!p) return -ENOMEM;
	INIT_DELAYED_WORK(&p->work, tick);
	schedule_delayed_work(&p->work, HZ / 50);
	return 0;
}
static void __exit r_exit(void)
{
	WRITE_ONCE(p->stop, true);
	IF_WRONG(cancel_delayed_work(&p->work);)
	IF_RIGHT(cancel_delayed_work_sync(&p->work);)
	kfree(p); /* the race */
}
module_init(r_init); module_exit(r_exit);
