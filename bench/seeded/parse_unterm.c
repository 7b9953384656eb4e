// SPDX-License-Identifier: GPL-2.0
/* kind: out of bounds */
#include "seeded.h"

static long val;
static ssize_t w(struct file *f, const char __user *b, size_t n, loff_t *o)
{
	char *t;
	ssize_t ret = n;

	if (!n || n > 16)
		return -EINVAL;
#ifdef FIXED
	t = memdup_user_nul(b, n);
#else
	t = memdup_user(b, n);
#endif
	if (IS_ERR(t))
		return PTR_ERR(t);
	if (strncmp(t, "set ", 4) == 0 && strlen(t) < 4) /* BUG */
		ret = -EINVAL;
	else if (kstrtol(strim(t), 0, &val)) /* BUG */
		ret = -EINVAL;
	kfree(t);
	return ret;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .write = w };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "parse_unterm", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
