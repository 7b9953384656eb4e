// SPDX-License-Identifier: GPL-2.0
/* kind: left behind */
#include "seeded.h"

static struct workqueue_struct *wq;
static void *buf;
static int __init m_init(void)
{
	wq = alloc_workqueue("wq_errpath", WQ_MEM_RECLAIM, 1); /* BUG */
	if (!wq)
		return -ENOMEM;
	buf = vzalloc(8192);
	if (!buf) {
#ifdef FIXED
		destroy_workqueue(wq);
#endif
		return -ENOMEM; /* BUG */
	}
	return 0;
}
static void __exit m_exit(void) { vfree(buf); destroy_workqueue(wq); }
module_init(m_init);
module_exit(m_exit);
