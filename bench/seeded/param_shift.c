// SPDX-License-Identifier: GPL-2.0
/* kind: rules of an interface */
#include "seeded.h"

static unsigned int bits = 4;
module_param(bits, uint, 0644);
static ssize_t r(struct file *f, char __user *b, size_t n, loff_t *o)
{
	char t[24];
	unsigned int nb = READ_ONCE(bits);
	u32 mask;
#ifdef FIXED
	if (nb > 31)
		nb = 31;
#endif
	mask = (1U << nb) - 1; /* BUG */
	return simple_read_from_buffer(b, n, o, t, scnprintf(t, sizeof(t), "%u\n", mask));
}
static const struct file_operations fops = { .owner = THIS_MODULE, .read = r };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "param_shift", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
