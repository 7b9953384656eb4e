// SPDX-License-Identifier: GPL-2.0
/* kind: wild jump */
#include "seeded.h"

typedef int (*fn)(int);
static int f0(int x) { return x; }
static int f1(int x) { return x + 1; }
static struct { fn f[2]; u64 guard[4]; } t = { { f0, f1 }, { 0x4141414141414141, 0x4242424242424242, 1, 2 } };
static long io(struct file *f, unsigned int cmd, unsigned long arg)
{
	unsigned int n = cmd & 0xff;
	if ((cmd & ~0xff) != 0x5100)
		return -ENOTTY;
#ifndef FIXED
	if (n > 2)
#else
	if (n > 1)
#endif
		return -EINVAL;
	return READ_ONCE(t.f[n])(arg & 7); /* BUG */
}
static const struct file_operations fops = { .owner = THIS_MODULE, .unlocked_ioctl = io };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "call_table", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
