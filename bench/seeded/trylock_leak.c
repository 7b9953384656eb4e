// SPDX-License-Identifier: GPL-2.0
/* kind: locks, sleeping */
#include "seeded.h"

static DEFINE_MUTEX(m);
static int v;
static ssize_t w(struct file *f, const char __user *b, size_t n, loff_t *o)
{
	if (!mutex_trylock(&m)) /* BUG */
		return -EBUSY;
	if (n > 64) {
#ifdef FIXED
		mutex_unlock(&m);
#endif
		return -E2BIG;
	}
	v++;
	mutex_unlock(&m);
	return n;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .write = w };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "trylock_leak", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
