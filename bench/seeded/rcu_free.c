// SPDX-License-Identifier: GPL-2.0
/* kind: race */
#include "seeded.h"

struct e { int a, b; char name[24]; };
static struct e __rcu *cur;
static ssize_t r(struct file *f, char __user *b, size_t n, loff_t *o)
{
	struct e *e;
	char t[24] = "";
	rcu_read_lock();
	e = rcu_dereference(cur);
	if (e)
		memcpy(t, e->name, 24);
	rcu_read_unlock();
	return simple_read_from_buffer(b, n, o, t, 24);
}
static DEFINE_MUTEX(m);
static ssize_t w(struct file *f, const char __user *b, size_t n, loff_t *o)
{
	struct e *e = kzalloc(sizeof(*e), GFP_KERNEL), *old;
	if (!e)
		return -ENOMEM;
	mutex_lock(&m);
	old = rcu_replace_pointer(cur, e, 1);
	mutex_unlock(&m);
#ifdef FIXED
	synchronize_rcu();
#endif
	kfree(old); /* BUG */
	return n;
}
static void bye(void) { kfree(rcu_dereference_protected(cur, 1)); }
static const struct file_operations fops = { .owner = THIS_MODULE, .read = r, .write = w };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "rcu_free", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); bye(); }
module_init(m_init);
module_exit(m_exit);
