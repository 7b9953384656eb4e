// SPDX-License-Identifier: GPL-2.0
/* kind: out of bounds */
#include "seeded.h"

static ssize_t w(struct file *f, const char __user *b, size_t n, loff_t *o)
{
	char t[16];
#ifndef FIXED
	if (n > sizeof(t))
#else
	if (n >= sizeof(t))
#endif
		return -EINVAL;
	if (copy_from_user(t, b, n))
		return -EFAULT;
	t[n] = 0; /* BUG */
	return strlen(t) ? n : -EINVAL;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .write = w };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "str_count", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
