// SPDX-License-Identifier: GPL-2.0
/* kind: reference never given back */
#include "seeded.h"

static int op(struct inode *i, struct file *f)
{
	mmgrab(current->mm); /* BUG */
	f->private_data = current->mm;
	return 0;
}
static int rel(struct inode *i, struct file *f)
{
#ifdef FIXED
	mmdrop(f->private_data);
#endif
	return 0;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .open = op, .release = rel };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "mm_grab", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
