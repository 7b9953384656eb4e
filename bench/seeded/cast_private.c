// SPDX-License-Identifier: GPL-2.0
/* kind: out of bounds */
#include "seeded.h"

struct a { int kind; u64 v; };
struct bb { int kind; u64 v; char text[120]; };
static int op(struct inode *i, struct file *f)
{
	struct a *a = kzalloc(sizeof(struct a), GFP_KERNEL);
	if (!a)
		return -ENOMEM;
	a->kind = 1;
	f->private_data = a;
	return 0;
}
static int rel(struct inode *i, struct file *f) { kfree(f->private_data); return 0; }
static ssize_t w(struct file *f, const char __user *b, size_t n, loff_t *o)
{
	struct bb *x = f->private_data;
#ifdef FIXED
	if (x->kind != 2)
		return n;
#endif
	x->text[100] = 1; /* BUG */
	return n;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .open = op, .release = rel, .write = w };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "cast_private", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
