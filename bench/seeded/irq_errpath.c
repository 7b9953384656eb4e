// SPDX-License-Identifier: GPL-2.0
/* kind: locks, sleeping */
#include "seeded.h"

static u32 regs[8];
static long io(struct file *f, unsigned int cmd, unsigned long arg)
{
	unsigned long flags;
	if (cmd != 3)
		return -ENOTTY;
	local_irq_save(flags); /* BUG */
	if (arg >= 8) {
#ifdef FIXED
		local_irq_restore(flags);
#endif
		return -EINVAL; /* BUG */
	}
	regs[arg]++;
	local_irq_restore(flags);
	return 0;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .unlocked_ioctl = io };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "irq_errpath", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
