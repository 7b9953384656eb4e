// SPDX-License-Identifier: GPL-2.0
/* kind: out of bounds */
#include "seeded.h"

static const char * const modes[4] = { "off", "on", "auto", "test" };
static int mode;
static ssize_t w(struct file *f, const char __user *b, size_t n, loff_t *o)
{
	char t[16] = "";
	int i;
	if (copy_from_user(t, b, min_t(size_t, n, 15)))
		return -EFAULT;
#ifndef FIXED
	i = __sysfs_match_string(modes, -1, t); /* BUG */
#else
	i = match_string(modes, 4, t);
#endif
	if (i < 0)
		return i;
	mode = i;
	return n;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .write = w };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "match_table", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
