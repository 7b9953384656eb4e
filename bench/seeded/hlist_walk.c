// SPDX-License-Identifier: GPL-2.0
/* kind: use after free */
#include "seeded.h"

struct n { struct hlist_node h; int v; };
static HLIST_HEAD(head);
static DEFINE_MUTEX(m);
static ssize_t w(struct file *f, const char __user *b, size_t len, loff_t *o)
{
	struct n *x = kzalloc(sizeof(*x), GFP_KERNEL);
	if (!x)
		return -ENOMEM;
	mutex_lock(&m);
	hlist_add_head(&x->h, &head);
	mutex_unlock(&m);
	return len;
}
static ssize_t r(struct file *f, char __user *b, size_t len, loff_t *o)
{
	struct n *x;
	struct hlist_node *t __maybe_unused;
	mutex_lock(&m);
#ifndef FIXED
	hlist_for_each_entry(x, &head, h) { /* BUG */
#else
	hlist_for_each_entry_safe(x, t, &head, h) {
#endif
		hlist_del(&x->h);
		kfree(x);
	}
	mutex_unlock(&m);
	return 0;
}
static void bye(void) { struct n *x; struct hlist_node *t; hlist_for_each_entry_safe(x, t, &head, h) kfree(x); }
static const struct file_operations fops = { .owner = THIS_MODULE, .read = r, .write = w };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "hlist_walk", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); bye(); }
module_init(m_init);
module_exit(m_exit);
