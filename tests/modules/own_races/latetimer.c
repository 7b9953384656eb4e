// SPDX-License-Identifier: GPL-2.0
/* Its timer comes when it is gone: the kernel dies after the unload, without any schedule. */
#include "own.h"
struct poller { struct timer_list timer; u32 ticks; };
static struct poller *poller;
static void tick(struct timer_list *timer) { container_of(timer, struct poller, timer)->ticks++; }
static int __init late_init(void)
{
	poller = kzalloc(sizeof(*poller), GFP_KERNEL);
	if (!poller)
		return -ENOMEM;
	timer_setup(&poller->timer, tick, 0);
	mod_timer(&poller->timer, jiffies + HZ);
	return 0;
}
static void __exit late_exit(void) { kfree(poller); }
module_init(late_init);
module_exit(late_exit);
