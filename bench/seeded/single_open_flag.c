// SPDX-License-Identifier: GPL-2.0
/* kind: race */
#include "seeded.h"

static int in_use;
#ifdef FIXED
static DEFINE_MUTEX(lock);
#endif
static int op(struct inode *i, struct file *f)
{
	int err = 0;
#ifdef FIXED
	mutex_lock(&lock);
#endif
	if (in_use)
		err = -EBUSY;
	else
		in_use = 1; /* BUG */
#ifdef FIXED
	mutex_unlock(&lock);
#endif
	return err;
}
static int rel(struct inode *i, struct file *f)
{
#ifdef FIXED
	mutex_lock(&lock);
#endif
	in_use = 0;
#ifdef FIXED
	mutex_unlock(&lock);
#endif
	return 0;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .open = op, .release = rel };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "single_open_flag", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
