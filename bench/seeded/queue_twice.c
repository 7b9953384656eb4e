// SPDX-License-Identifier: GPL-2.0
/* kind: use after free */
#include "seeded.h"

struct buf { struct list_head node; int state; };
static LIST_HEAD(busy);
static DEFINE_MUTEX(lock);
static int op(struct inode *i, struct file *f)
{
	struct buf *b = kzalloc(sizeof(*b), GFP_KERNEL);

	if (!b)
		return -ENOMEM;
	INIT_LIST_HEAD(&b->node);
	f->private_data = b;
	return 0;
}
static int rel(struct inode *i, struct file *f)
{
	struct buf *b = f->private_data;

#ifdef FIXED
	mutex_lock(&lock);
	list_del(&b->node);
	mutex_unlock(&lock);
#endif
	kfree(b); /* BUG */
	return 0;
}
static long io(struct file *f, unsigned int cmd, unsigned long arg)
{
	struct buf *b = f->private_data;

	if (cmd != _IO('b', 9))
		return -ENOTTY;
	mutex_lock(&lock);
	if (list_empty(&b->node))
		list_add(&b->node, &busy); /* BUG */
	mutex_unlock(&lock);
	return 0;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .open = op, .release = rel, .unlocked_ioctl = io };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "queue_twice", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
