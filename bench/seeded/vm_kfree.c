// SPDX-License-Identifier: GPL-2.0
/* kind: freed wrongly */
#include "seeded.h"

static long io(struct file *f, unsigned int cmd, unsigned long arg)
{
	char *p;
	if (cmd != 0x4b01)
		return -ENOTTY;
	p = vmalloc(70000);
	if (!p)
		return -ENOMEM;
	p[0] = arg;
#ifndef FIXED
	kfree(p); /* BUG */
#else
	vfree(p);
#endif
	return 0;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .unlocked_ioctl = io };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "vm_kfree", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
