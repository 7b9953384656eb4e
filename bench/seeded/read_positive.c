// SPDX-License-Identifier: GPL-2.0
/* kind: rules of an interface */
#include "seeded.h"

static ssize_t r(struct file *f, char __user *b, size_t n, loff_t *o)
{
	char t[8] = "ready\n";
	if (*o >= 6)
		return 0;
	n = min_t(size_t, n, 6);
	if (copy_to_user(b, t, n))
#ifndef FIXED
		return EFAULT; /* BUG */
#else
		return -EFAULT;
#endif
	*o += n;
	return n;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .read = r };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "read_positive", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
