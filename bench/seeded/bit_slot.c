// SPDX-License-Identifier: GPL-2.0
/* kind: out of bounds */
#include "seeded.h"

#define SLOTS 64
static DECLARE_BITMAP(used, SLOTS);
static u32 owner[SLOTS];
static DEFINE_SPINLOCK(lock);
static int take(void)
{
	int slot;

	spin_lock(&lock);
	slot = find_first_zero_bit(used, SLOTS);
#ifdef FIXED
	if (slot >= SLOTS) {
		spin_unlock(&lock);
		return -ENOSPC;
	}
#endif
	__set_bit(slot, used); /* BUG */
	owner[slot] = current->pid; /* BUG */
	spin_unlock(&lock);
	return slot;
}
static long io(struct file *f, unsigned int cmd, unsigned long arg)
{
	int i, slot = -EINVAL;

	if (cmd != _IO('s', 11))
		return -ENOTTY;
	for (i = 0; i < 16; i++)
		slot = take();
	return slot;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .unlocked_ioctl = io };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "bit_slot", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
