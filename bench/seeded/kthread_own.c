// SPDX-License-Identifier: GPL-2.0
/* kind: use after free */
#include "seeded.h"

static struct task_struct *t;
static int fn(void *p)
{
	int i;
#ifndef FIXED
	for (i = 0; i < 3; i++)
#else
	while (!kthread_should_stop())
#endif
		msleep(5);
	return 0;
}
static int __init m_init(void) { t = kthread_run(fn, NULL, "worker"); return PTR_ERR_OR_ZERO(t); }
static void __exit m_exit(void)
{
	kthread_stop(t); /* BUG */
}
module_init(m_init); module_exit(m_exit);
