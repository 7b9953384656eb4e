// SPDX-License-Identifier: GPL-2.0
/* kind: locks, sleeping */
#include "seeded.h"

static DEFINE_MUTEX(a);
static DEFINE_MUTEX(bb);
static int v;
static ssize_t w(struct file *f, const char __user *b, size_t n, loff_t *o)
{
	int err, in;

	if (mutex_lock_interruptible(&a)) /* BUG */
		return -ERESTARTSYS;
	err = kstrtoint_from_user(b, n, 10, &in);
	if (err)
#ifdef FIXED
		goto out;
#else
		return err; /* BUG */
#endif
	mutex_lock(&bb);
	v = in;
	mutex_unlock(&bb);
	err = n;
#ifdef FIXED
out:
#endif
	mutex_unlock(&a);
	return err;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .write = w };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "intr_unlock", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
