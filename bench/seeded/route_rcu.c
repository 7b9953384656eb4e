// SPDX-License-Identifier: GPL-2.0
/* kind: race */
#include "seeded.h"

struct route { struct list_head node; u32 to; char via[20]; };
static LIST_HEAD(routes);
static DEFINE_SPINLOCK(lock);
static int show(struct seq_file *s, void *v)
{
	struct route *it;

	rcu_read_lock();
	list_for_each_entry_rcu(it, &routes, node)
		seq_printf(s, "%u %.20s\n", it->to, it->via);
	rcu_read_unlock();
	return 0;
}
static int op(struct inode *i, struct file *f) { f->private_data = NULL; return single_open(f, show, NULL); }
static ssize_t w(struct file *f, const char __user *b, size_t n, loff_t *o)
{
	struct route *new, *old = NULL;

	new = kzalloc(sizeof(*new), GFP_KERNEL);
	if (!new)
		return -ENOMEM;
	if (copy_from_user(new->via, b, min(n, sizeof(new->via)))) {
		kfree(new);
		return -EFAULT;
	}
	spin_lock(&lock);
	if (!list_empty(&routes)) {
		old = list_first_entry(&routes, struct route, node);
		list_del_rcu(&old->node);
	}
	list_add_rcu(&new->node, &routes);
	spin_unlock(&lock);
#ifdef FIXED
	synchronize_rcu();
#endif
	kfree(old); /* BUG */
	return n;
}
static void bye(void)
{
	struct route *it, *next;

	list_for_each_entry_safe(it, next, &routes, node)
		kfree(it);
}
static const struct file_operations fops = { .owner = THIS_MODULE, .open = op, .read = seq_read, .llseek = seq_lseek, .release = single_release, .write = w };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "route_rcu", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); bye(); }
module_init(m_init);
module_exit(m_exit);
