// SPDX-License-Identifier: GPL-2.0
/* kind: unwritten memory */
#include "seeded.h"

struct opts { int mode; int level; bool quick; };
static ssize_t w(struct file *f, const char __user *b, size_t n, loff_t *o)
{
	struct opts *opt = kmalloc(sizeof(*opt), GFP_KERNEL);
	int used;

	if (!opt)
		return -ENOMEM;
	opt->mode = n & 7;
#ifdef FIXED
	opt->level = 0;
#endif
	used = opt->level > 4 ? opt->mode : 1; /* BUG */
	kfree(opt);
	return min_t(size_t, used, n);
}
static const struct file_operations fops = { .owner = THIS_MODULE, .write = w };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "flag_cmov", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
