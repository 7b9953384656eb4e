// SPDX-License-Identifier: GPL-2.0
/* kind: use after free */
#include "seeded.h"

static DECLARE_WAIT_QUEUE_HEAD(wq);
static bool ready;
static ssize_t r(struct file *f, char __user *b, size_t n, loff_t *o)
{
	if (wait_event_interruptible_timeout(wq, ready, HZ) < 0) /* BUG */
		return -ERESTARTSYS;
	return 0;
}
static ssize_t w(struct file *f, const char __user *b, size_t n, loff_t *o) { WRITE_ONCE(ready, true); wake_up(&wq); return n; }
static const struct file_operations fops = { /* BUG */
#ifdef FIXED
	.owner = THIS_MODULE,
#endif
	.read = r, .write = w };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "read_noowner", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
