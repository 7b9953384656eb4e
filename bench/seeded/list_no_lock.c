// SPDX-License-Identifier: GPL-2.0
/* kind: race */
#include "seeded.h"

struct item { struct list_head node; int v; };
static LIST_HEAD(items);
static DEFINE_SPINLOCK(lock);
static ssize_t w(struct file *f, const char __user *b, size_t n, loff_t *o)
{
	struct item *it = kzalloc(sizeof(*it), GFP_KERNEL);

	if (!it)
		return -ENOMEM;
	it->v = n;
#ifdef FIXED
	spin_lock(&lock);
#endif
	list_add(&it->node, &items); /* BUG */
#ifdef FIXED
	spin_unlock(&lock);
#endif
	return n;
}
static ssize_t r(struct file *f, char __user *b, size_t n, loff_t *o)
{
	struct item *it;
	int sum = 0;

	spin_lock(&lock);
	list_for_each_entry(it, &items, node)
		sum += it->v;
	spin_unlock(&lock);
	return put_user(sum, (int __user *)b) ? -EFAULT : 0;
}
static void bye(void)
{
	struct item *it, *next;

	list_for_each_entry_safe(it, next, &items, node)
		kfree(it);
}
static const struct file_operations fops = { .owner = THIS_MODULE, .read = r, .write = w };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "list_no_lock", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); bye(); }
module_init(m_init);
module_exit(m_exit);
