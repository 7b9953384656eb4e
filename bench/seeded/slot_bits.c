// SPDX-License-Identifier: GPL-2.0
/* kind: race */
#include "seeded.h"

static unsigned long slots;
static DEFINE_SPINLOCK(lock);
static long io(struct file *f, unsigned int cmd, unsigned long arg)
{
	unsigned int n;
	if (cmd == 1) {
#ifdef FIXED
		spin_lock(&lock);
#endif
		n = find_first_zero_bit(&slots, 32);
		if (n < 32)
			__set_bit(n, &slots); /* BUG */
#ifdef FIXED
		spin_unlock(&lock);
#endif
		return n < 32 ? n : -ENOSPC;
	}
	if (cmd == 2 && arg < 32) {
		spin_lock(&lock);
		__clear_bit(arg, &slots); /* BUG */
		spin_unlock(&lock);
		return 0;
	}
	return -ENOTTY;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .unlocked_ioctl = io };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "slot_bits", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
