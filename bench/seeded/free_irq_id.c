// SPDX-License-Identifier: GPL-2.0
/* kind: rules of an interface */
#include "seeded.h"

static int a, bb;
static irqreturn_t h(int irq, void *d) { return IRQ_NONE; }
static int __init m_init(void) { return request_irq(5, h, IRQF_SHARED, "irqid", &a); }
static void __exit m_exit(void)
{
#ifndef FIXED
	free_irq(5, &bb); /* BUG */
#else
	free_irq(5, &a);
#endif
}
module_init(m_init); module_exit(m_exit);
static int *unused_ __maybe_unused = &bb;
