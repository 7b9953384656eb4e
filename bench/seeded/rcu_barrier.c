// SPDX-License-Identifier: GPL-2.0
/* kind: left behind */
#include "seeded.h"

struct e { struct rcu_head rcu; int v; };
static void gone(struct rcu_head *h) { kfree(container_of(h, struct e, rcu)); }
static ssize_t w(struct file *f, const char __user *b, size_t n, loff_t *o)
{
	struct e *e = kmalloc(sizeof(*e), GFP_KERNEL);
	if (!e)
		return -ENOMEM;
	call_rcu(&e->rcu, gone); /* BUG */
	return n;
}
static void bye(void)
{
#ifdef FIXED
	rcu_barrier();
#endif
}
static const struct file_operations fops = { .owner = THIS_MODULE, .write = w };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "rcu_barrier", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); bye(); }
module_init(m_init);
module_exit(m_exit);
