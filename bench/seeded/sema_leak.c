// SPDX-License-Identifier: GPL-2.0
/* kind: locks, sleeping */
#include "seeded.h"

static DECLARE_RWSEM(m);
static int v;
static long io(struct file *f, unsigned int cmd, unsigned long arg)
{
	down_read(&m); /* BUG */
	switch (cmd) {
	case 0x6001:
		v++;
		break;
	case 0x6002:
#ifdef FIXED
		up_read(&m);
#endif
		return -EPERM;
	}
	up_read(&m);
	return 0;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .unlocked_ioctl = io };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "sema_leak", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
