// SPDX-License-Identifier: GPL-2.0
/* kind: freed wrongly */
#include "seeded.h"

static int __percpu *c;
static int __init m_init(void) { c = alloc_percpu(int); return c ? 0 : -ENOMEM; }
static void __exit m_exit(void)
{
#ifndef FIXED
	kfree((void __force *)c); /* BUG */
#else
	free_percpu(c);
#endif
}
module_init(m_init); module_exit(m_exit);
