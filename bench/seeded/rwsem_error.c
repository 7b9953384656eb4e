// SPDX-License-Identifier: GPL-2.0
/* kind: locks, sleeping */
#include "seeded.h"

static DECLARE_RWSEM(sem);
static char cfg[32] = "x";
static long io(struct file *f, unsigned int cmd, unsigned long arg)
{
	if (cmd != _IOR('k', 2, char[32]))
		return -ENOTTY;
	down_read(&sem); /* BUG */
	if (copy_to_user((void __user *)arg, cfg, sizeof(cfg))) {
#ifdef FIXED
		up_read(&sem);
#endif
		return -EFAULT; /* BUG */
	}
	up_read(&sem);
	return 0;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .unlocked_ioctl = io };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "rwsem_error", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
