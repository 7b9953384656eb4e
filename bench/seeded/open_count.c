// SPDX-License-Identifier: GPL-2.0
/* kind: race */
#include "seeded.h"

static unsigned int users;
static u8 *shared;
static DEFINE_MUTEX(lock);
static int op(struct inode *i, struct file *f)
{
#ifdef FIXED
	mutex_lock(&lock);
#endif
	if (!users++) /* BUG */
		shared = kzalloc(64, GFP_KERNEL);
#ifdef FIXED
	if (!shared)
		users = 0;
	mutex_unlock(&lock);
#endif
	return shared ? 0 : -ENOMEM;
}
static int rl(struct inode *i, struct file *f)
{
	mutex_lock(&lock);
	if (!--users) { /* BUG */
		kfree(shared);
		shared = NULL;
	}
	mutex_unlock(&lock);
	return 0;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .open = op, .release = rl };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "open_count", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
