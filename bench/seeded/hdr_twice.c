// SPDX-License-Identifier: GPL-2.0
/* kind: out of bounds */
#include "seeded.h"

struct hdr { u16 type; u16 len; };
static ssize_t w(struct file *f, const char __user *b, size_t n, loff_t *o)
{
	struct hdr h, *copy;
	char *out;

	if (n < sizeof(h) || n > 512)
		return -EINVAL;
	if (copy_from_user(&h, b, sizeof(h)))
		return -EFAULT;
	if (h.len > n - sizeof(h))
		return -EMSGSIZE;
	copy = memdup_user(b, n);
	if (IS_ERR(copy))
		return PTR_ERR(copy);
	out = kmalloc(h.len, GFP_KERNEL);
	if (!out) {
		kfree(copy);
		return -ENOMEM;
	}
#ifdef FIXED
	memcpy(out, copy + 1, h.len);
#else
	memcpy(out, copy + 1, copy->len); /* BUG */
#endif
	kfree(out);
	kfree(copy);
	return n;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .write = w };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "hdr_twice", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
