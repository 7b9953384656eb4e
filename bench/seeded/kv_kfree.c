// SPDX-License-Identifier: GPL-2.0
/* kind: freed wrongly */
#include "seeded.h"

static ssize_t w(struct file *f, const char __user *b, size_t n, loff_t *o)
{
	void *p = kvmalloc(max_t(size_t, n, 1 << 20) * 8, GFP_KERNEL);
	ssize_t ret = n;
	if (!p)
		return -ENOMEM;
	if (copy_from_user(p, b, n))
		ret = -EFAULT;
#ifdef FIXED
	kvfree(p);
#else
	kfree(p); /* BUG */
#endif
	return ret;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .write = w };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "kv_kfree", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
