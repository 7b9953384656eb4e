// SPDX-License-Identifier: GPL-2.0
/* kind: rules of an interface */
#include "seeded.h"

static char text[16] = "ready\n";
static ssize_t r(struct file *f, char __user *b, size_t n, loff_t *o)
{
	if (*o >= sizeof(text))
		return 0;
	n = min_t(size_t, n, sizeof(text) - *o);
	if (copy_to_user(b, text + *o, n))
#ifdef FIXED
		return -EFAULT;
#else
		return EFAULT; /* BUG */
#endif
	*o += n;
	return n;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .read = r };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "read_errno", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
