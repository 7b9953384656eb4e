// SPDX-License-Identifier: GPL-2.0
/* kind: rules of an interface */
#include "seeded.h"

static long io(struct file *f, unsigned int cmd, unsigned long arg)
{
	u32 v;
	if (cmd != _IOW('k', 1, u32))
		return -ENOTTY;
	if (copy_from_user(&v, (void __user *)arg, sizeof(v)))
#ifdef FIXED
		return -EFAULT;
#else
		return EFAULT; /* BUG */
#endif
	return v > 100 ? -EINVAL : 0;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .unlocked_ioctl = io };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "ioctl_positive", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
