// SPDX-License-Identifier: GPL-2.0
/* kind: out of bounds */
#include "seeded.h"

static int level[8];
#define ARRAY_SIZE_INT ((int)ARRAY_SIZE(level))
static ssize_t w(struct file *f, const char __user *b, size_t n, loff_t *o)
{
	char in[32] = "";
	int chan, value;

	if (n >= sizeof(in))
		return -EINVAL;
	if (copy_from_user(in, b, n))
		return -EFAULT;
	if (sscanf(in, "%d %d", &chan, &value) != 2)
		return -EINVAL;
#ifdef FIXED
	if (chan < 0)
		return -EINVAL;
#endif
	if (chan >= ARRAY_SIZE_INT)
		return -ECHRNG;
	WRITE_ONCE(level[chan], value); /* BUG */
	return n;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .write = w };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "chan_negative", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
