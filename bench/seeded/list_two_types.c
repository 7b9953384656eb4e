// SPDX-License-Identifier: GPL-2.0
/* kind: out of bounds */
#include "seeded.h"

struct head { struct list_head node; int type; };
struct text { struct head h; char body[64]; };
struct num { struct head h; int value; };
static LIST_HEAD(items);
static DEFINE_MUTEX(lock);
static ssize_t w(struct file *f, const char __user *b, size_t n, loff_t *o)
{
	struct num *num = kzalloc(sizeof(*num), GFP_KERNEL);

	if (!num)
		return -ENOMEM;
	num->value = n;
	num->h.type = 2;
	mutex_lock(&lock);
	list_add_tail(&num->h.node, &items);
	mutex_unlock(&lock);
	return n;
}
static ssize_t r(struct file *f, char __user *b, size_t n, loff_t *o)
{
	struct head *h;
	int total = 0;

	mutex_lock(&lock);
	list_for_each_entry(h, &items, node) {
		struct text *t = container_of(h, struct text, h);
#ifdef FIXED
		if (h->type != 1)
			continue;
#endif
		total += t->body[40]; /* BUG */
	}
	mutex_unlock(&lock);
	return put_user(total, (int __user *)b) ? -EFAULT : min_t(size_t, n, 4);
}
static void bye(void)
{
	struct head *h, *next;

	list_for_each_entry_safe(h, next, &items, node)
		kfree(h);
}
static const struct file_operations fops = { .owner = THIS_MODULE, .read = r, .write = w };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "list_two_types", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); bye(); }
module_init(m_init);
module_exit(m_exit);
