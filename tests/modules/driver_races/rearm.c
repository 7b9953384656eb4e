// SPDX-License-Identifier: GPL-2.0
#include "driver.h"
/* A timer is armed in an object that another request has freed. */
struct beat { struct timer_list timer; spinlock_t lock; bool dying; int beats; };
static struct beat *b;
static DEFINE_MUTEX(m);
static void beat_fn(struct timer_list *t) { struct beat *x = container_of(t, struct beat, timer); x->beats++; }
static long r_ioctl(struct file *f, unsigned int cmd, unsigned long arg)
{
	struct beat *x;
	if (cmd == 0x5201) { /* start */
		IF_RIGHT(mutex_lock(&m);)
		x = b;
		if (x) mod_timer(&x->timer, jiffies + 2); /* the race */
		IF_RIGHT(mutex_unlock(&m);)
		return 0;
	}
	if (cmd == 0x5202) { /* drop it, and make another */
		mutex_lock(&m);
		x = b;
		b = NULL;
		if (x) { del_timer_sync(&x->timer); kfree(x); } /* the race */
		x = kzalloc(sizeof(*x), GFP_KERNEL);
		if (x) timer_setup(&x->timer, beat_fn, 0);
		b = x;
		mutex_unlock(&m);
		return 0;
	}
	return -ENOTTY;
}
MISC("rearm", .unlocked_ioctl = r_ioctl);
static int __init r_init(void)
{
	b = kzalloc(sizeof(*b), GFP_KERNEL);
	if (!b) return -ENOMEM;
	timer_setup(&b->timer, beat_fn, 0);
	return misc_register(&device);
}
static void __exit r_exit(void) { misc_deregister(&device); if (b) { del_timer_sync(&b->timer); kfree(b); } }
module_init(r_init); module_exit(r_exit);
