// SPDX-License-Identifier: GPL-2.0
/* kind: rules of an interface */
#include "seeded.h"

static atomic_t users = ATOMIC_INIT(0);
static int op(struct inode *i, struct file *f)
{
	if (atomic_inc_return(&users) > 1) {
		atomic_dec(&users);
#ifdef FIXED
		return -EBUSY;
#else
		return EBUSY; /* BUG */
#endif
	}
	return 0;
}
static int rl(struct inode *i, struct file *f) { atomic_dec(&users); return 0; }
static const struct file_operations fops = { .owner = THIS_MODULE, .open = op, .release = rl };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "open_positive", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
