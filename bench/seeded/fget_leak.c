// SPDX-License-Identifier: GPL-2.0
/* kind: reference never given back */
#include "seeded.h"

static long io(struct file *f, unsigned int cmd, unsigned long arg)
{
	struct file *other;
	loff_t pos;
	if (cmd != 0x7a01)
		return -ENOTTY;
	other = fget(0); /* BUG */
	if (!other)
		return -EBADF;
	pos = other->f_pos;
#ifdef FIXED
	fput(other);
#endif
	return pos & 0xff;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .unlocked_ioctl = io };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "fget_leak", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
