// SPDX-License-Identifier: GPL-2.0
/* kind: wild access */
#include "seeded.h"

static ssize_t w(struct file *f, const char __user *b, size_t n, loff_t *o)
{
	char *p;
	if (!n || n > 4096)
		return -EINVAL;
	p = memdup_user_nul(b, n);
#ifdef FIXED
	if (IS_ERR(p))
		return PTR_ERR(p);
#else
	if (!p)
		return -ENOMEM;
#endif
	if (p[0] == '#') /* BUG */
		n = 1;
	kfree(p);
	return n;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .write = w };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "dup_error", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
