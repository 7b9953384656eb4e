// SPDX-License-Identifier: GPL-2.0
/* kind: reference never given back */
#include "seeded.h"

static const struct cred *who;
static DEFINE_SPINLOCK(lock);
static ssize_t w(struct file *f, const char __user *b, size_t n, loff_t *o)
{
	const struct cred *mine = get_current_cred(), *old; /* BUG */

	spin_lock(&lock);
	old = who;
	who = mine;
	spin_unlock(&lock);
#ifdef FIXED
	if (old)
		put_cred(old);
#endif
	return n;
}
static void bye(void)
{
	if (who)
		put_cred(who);
}
static const struct file_operations fops = { .owner = THIS_MODULE, .write = w };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "cred_hold", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); bye(); }
module_init(m_init);
module_exit(m_exit);
