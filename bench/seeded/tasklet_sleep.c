// SPDX-License-Identifier: GPL-2.0
/* kind: locks, sleeping */
#include "seeded.h"

static void fn(struct tasklet_struct *t)
{
#ifndef FIXED
	void *p = kmalloc(64, GFP_KERNEL); /* BUG */
#else
	void *p = kmalloc(64, GFP_ATOMIC);
#endif
	kfree(p);
}
static DECLARE_TASKLET(tl, fn);
static ssize_t w(struct file *f, const char __user *b, size_t n, loff_t *o) { tasklet_schedule(&tl); return n; }
static void bye(void) { tasklet_kill(&tl); }
static const struct file_operations fops = { .owner = THIS_MODULE, .write = w };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "tasklet_sleep", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); bye(); }
module_init(m_init);
module_exit(m_exit);
