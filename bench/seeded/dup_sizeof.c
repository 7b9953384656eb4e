// SPDX-License-Identifier: GPL-2.0
/* kind: out of bounds */
#include "seeded.h"

struct stats { u64 rx, tx, err, drop; };
static struct stats cur = { 1, 2, 3, 4 };
static long io(struct file *f, unsigned int cmd, unsigned long arg)
{
	struct stats *s;
	long ret = 0;

	if (cmd != _IOR('k', 9, struct stats))
		return -ENOTTY;
#ifdef FIXED
	s = kmemdup(&cur, sizeof(*s), GFP_KERNEL);
#else
	s = kmemdup(&cur, sizeof(s), GFP_KERNEL);
#endif
	if (!s)
		return -ENOMEM;
	if (copy_to_user((void __user *)arg, s, sizeof(*s))) /* BUG */
		ret = -EFAULT;
	kfree(s);
	return ret;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .unlocked_ioctl = io };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "dup_sizeof", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
