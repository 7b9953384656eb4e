// SPDX-License-Identifier: GPL-2.0
/* kind: locks, sleeping */
#include "seeded.h"

static void poll_fn(struct timer_list *t);
static DEFINE_TIMER(timer, poll_fn);
static char *last;
static void poll_fn(struct timer_list *t)
{
	char *fresh;
#ifdef FIXED
	fresh = kasprintf(GFP_ATOMIC, "%lu", jiffies);
#else
	fresh = kasprintf(GFP_KERNEL, "%lu", jiffies); /* BUG */
#endif
	kfree(last);
	last = fresh;
}
static ssize_t w(struct file *f, const char __user *b, size_t n, loff_t *o) { mod_timer(&timer, jiffies + 2); return n; }
static void bye(void) { TIMER_SYNC(&timer); kfree(last); }
static const struct file_operations fops = { .owner = THIS_MODULE, .write = w };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "task_atomic", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); bye(); }
module_init(m_init);
module_exit(m_exit);
