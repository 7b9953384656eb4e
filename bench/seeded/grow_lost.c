// SPDX-License-Identifier: GPL-2.0
/* kind: leak */
#include "seeded.h"

static u32 *tab;
static unsigned int cap;
static DEFINE_MUTEX(lock);
static ssize_t w(struct file *f, const char __user *b, size_t n, loff_t *o)
{
	u32 *new;
	if (cap >= 64)
		return -ENOSPC;
	mutex_lock(&lock);
	new = krealloc(tab, (cap + 8) * sizeof(*tab), GFP_KERNEL | __GFP_ZERO); /* BUG */
#ifdef FIXED
	if (!new) {
		mutex_unlock(&lock);
		return -ENOMEM;
	}
	tab = new;
#else
	tab = new; /* BUG */
	if (!tab) {
		cap = 0;
		mutex_unlock(&lock);
		return -ENOMEM;
	}
#endif
	tab[cap] = n;
	cap += 8;
	mutex_unlock(&lock);
	return n;
}
static int hello(void) { return 0; }
static void bye(void) { kfree(tab); }
static const struct file_operations fops = { .owner = THIS_MODULE, .write = w };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "grow_lost", .fops = &fops };
static int __init m_init(void)
{
	int err = hello();
	if (err)
		return err;
	err = misc_register(&mdev);
	if (err)
		bye();
	return err;
}
static void __exit m_exit(void) { misc_deregister(&mdev); bye(); }
module_init(m_init);
module_exit(m_exit);
