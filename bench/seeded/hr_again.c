// SPDX-License-Identifier: GPL-2.0
/* kind: hang */
#include "seeded.h"

static struct hrtimer t;
static u64 n;
static enum hrtimer_restart tick(struct hrtimer *h)
{
	n++;
#ifdef FIXED
	hrtimer_forward_now(h, ms_to_ktime(50));
#endif
	return HRTIMER_RESTART; /* BUG */
}
static int __init m_init(void)
{
	hrtimer_init(&t, CLOCK_MONOTONIC, HRTIMER_MODE_REL);
	t.function = tick; /* BUG */
	hrtimer_start(&t, ms_to_ktime(50), HRTIMER_MODE_REL);
	return 0;
}
static void __exit m_exit(void) { hrtimer_cancel(&t); }
module_init(m_init);
module_exit(m_exit);
