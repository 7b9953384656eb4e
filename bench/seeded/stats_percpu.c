// SPDX-License-Identifier: GPL-2.0
/* kind: leak */
#include "seeded.h"

struct stats { u64 rx, tx; };
struct link { struct stats __percpu *stats; };
static int op(struct inode *i, struct file *f)
{
	struct link *l = kzalloc(sizeof(*l), GFP_KERNEL);

	if (!l)
		return -ENOMEM;
	l->stats = alloc_percpu(struct stats); /* BUG */
	if (!l->stats) {
		kfree(l);
		return -ENOMEM;
	}
	f->private_data = l;
	return 0;
}
static int rel(struct inode *i, struct file *f)
{
	struct link *l = f->private_data;
#ifdef FIXED
	free_percpu(l->stats);
#endif
	kfree(l);
	return 0;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .open = op, .release = rel };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "stats_percpu", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
