// SPDX-License-Identifier: GPL-2.0
/* kind: hang */
#include "seeded.h"

static DECLARE_WAIT_QUEUE_HEAD(q);
static int ready;
static ssize_t w(struct file *f, const char __user *b, size_t n, loff_t *o) { ready = 0; wake_up(&q); return n; }
static long io(struct file *f, unsigned int cmd, unsigned long arg)
{
	if (cmd != 0x7701)
		return -ENOTTY;
#ifndef FIXED
	wait_event(q, ready); /* BUG */
	return 0;
#else
	return wait_event_interruptible_timeout(q, ready, 10) < 0 ? -ERESTARTSYS : 0;
#endif
}
static const struct file_operations fops = { .owner = THIS_MODULE, .write = w, .unlocked_ioctl = io };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "wait_cond", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
