// SPDX-License-Identifier: GPL-2.0
/* kind: rules of an interface */
#include "seeded.h"

static char msg[128] = "state: idle";
static ssize_t r(struct file *f, char __user *b, size_t n, loff_t *o)
{
	size_t l = strlen(msg);
	if (*o)
		return 0;
#ifdef FIXED
	n = min(n, l);
#else
	if (copy_to_user(b, msg, l)) /* BUG */
#endif
#ifdef FIXED
	if (copy_to_user(b, msg, n))
#endif
		return -EFAULT;
	*o = l;
#ifndef FIXED
	return l;
#else
	return n;
#endif
}
static const struct file_operations fops = { .owner = THIS_MODULE, .read = r };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "read_toomuch", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
