// SPDX-License-Identifier: GPL-2.0
/* kind: out of bounds */
#include "seeded.h"

struct cmd { u32 op; u32 len; u64 data; };
static noinline int run(const void __user *from, u32 len)
{
	u8 local[48];
#ifdef FIXED
	if (len > sizeof(local))
		return -EINVAL;
#endif
	if (copy_from_user(local, from, len)) /* BUG */
		return -EFAULT;
	return local[0];
}
static long io(struct file *f, unsigned int cmd, unsigned long arg)
{
	struct cmd c;

	if (cmd != _IOW('k', 1, struct cmd))
		return -ENOTTY;
	if (copy_from_user(&c, (void __user *)arg, sizeof(c)))
		return -EFAULT;
	return c.op == 2 ? run((void __user *)(unsigned long)c.data, c.len) : -EOPNOTSUPP;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .unlocked_ioctl = io };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "stack_copy", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
