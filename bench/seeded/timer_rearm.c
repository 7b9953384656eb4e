// SPDX-License-Identifier: GPL-2.0
/* kind: left behind */
#include "seeded.h"

static struct timer_list t;
static bool stop;
static void tick(struct timer_list *x) { if (!READ_ONCE(stop)) mod_timer(x, jiffies + 2); }
static int __init m_init(void) { timer_setup(&t, tick, 0); mod_timer(&t, jiffies + 2); return 0; } /* BUG */
static void __exit m_exit(void)
{
	WRITE_ONCE(stop, true);
#ifdef FIXED
	TIMER_SYNC(&t);
#endif
}
module_init(m_init); module_exit(m_exit);
