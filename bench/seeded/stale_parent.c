// SPDX-License-Identifier: GPL-2.0
/* kind: leak */
#include "seeded.h"

struct child { char name[40]; };
struct parent { struct child *child; u64 id; char pad[100]; };
static int op(struct inode *i, struct file *f)
{
	struct parent *p = kzalloc(sizeof(*p), GFP_KERNEL);

	if (!p)
		return -ENOMEM;
	f->private_data = p;
	return 0;
}
static ssize_t w(struct file *f, const char __user *b, size_t n, loff_t *o)
{
	struct parent *p = f->private_data;

	if (!READ_ONCE(p->child)) {
		struct child *c = kzalloc(sizeof(*c), GFP_KERNEL); /* BUG */

		if (c && cmpxchg(&p->child, NULL, c))
			kfree(c);
	}
	return n;
}
static int rel(struct inode *i, struct file *f)
{
	struct parent *p = f->private_data;
#ifdef FIXED
	kfree(p->child);
#endif
	kfree(p);
	return 0;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .open = op, .release = rel, .write = w };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "stale_parent", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
