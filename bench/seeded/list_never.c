// SPDX-License-Identifier: GPL-2.0
/* kind: wild access */
#include "seeded.h"

struct job { struct list_head node; u32 prio; };
static LIST_HEAD(jobs);
static DEFINE_MUTEX(lock);
static ssize_t w(struct file *f, const char __user *b, size_t n, loff_t *o)
{
	struct job *j = kzalloc(sizeof(*j), GFP_KERNEL);
	char c;

	if (!j)
		return -ENOMEM;
	if (!n || get_user(c, b)) {
		kfree(j);
		return -EFAULT;
	}
#ifdef FIXED
	INIT_LIST_HEAD(&j->node);
#endif
	mutex_lock(&lock);
	if (c != '1')
		list_add(&j->node, &jobs);
	list_del(&j->node); /* BUG */
	mutex_unlock(&lock);
	kfree(j);
	return n;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .write = w };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "list_never", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
