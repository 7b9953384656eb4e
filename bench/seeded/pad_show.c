// SPDX-License-Identifier: GPL-2.0
/* kind: unwritten memory */
#include "seeded.h"

struct info { u8 kind; u64 serial; u16 flags; };
static long io(struct file *f, unsigned int cmd, unsigned long arg)
{
	struct info *i;
	long ret = 0;
	if (cmd != _IOR('k', 4, struct info))
		return -ENOTTY;
#ifdef FIXED
	i = kzalloc(sizeof(*i), GFP_KERNEL);
#else
	i = kmalloc(sizeof(*i), GFP_KERNEL); /* BUG */
#endif
	if (!i)
		return -ENOMEM;
	i->kind = 1;
	i->serial = 77;
	i->flags = 2;
	if (copy_to_user((void __user *)arg, i, sizeof(*i))) /* BUG */
		ret = -EFAULT;
	kfree(i);
	return ret;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .unlocked_ioctl = io };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "pad_show", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
