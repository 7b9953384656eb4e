// SPDX-License-Identifier: GPL-2.0
/* kind: locks, sleeping */
#include "seeded.h"

static DEFINE_SPINLOCK(l1);
static DEFINE_SPINLOCK(l2);
static int v;
static ssize_t w(struct file *f, const char __user *b, size_t n, loff_t *o)
{
	unsigned long fl;
#ifdef FIXED
	unsigned long f2;
#endif
	spin_lock_irqsave(&l1, fl);
#ifndef FIXED
	spin_lock_irqsave(&l2, fl);
#else
	spin_lock_irqsave(&l2, f2);
#endif
	v++;
#ifndef FIXED
	spin_unlock_irqrestore(&l2, fl);
#else
	spin_unlock_irqrestore(&l2, f2);
#endif
	spin_unlock_irqrestore(&l1, fl); /* BUG */
	return n;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .write = w };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "flags_nested", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
