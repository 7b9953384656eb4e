// SPDX-License-Identifier: GPL-2.0
/* kind: out of bounds */
#include "seeded.h"

static char *key;
static ssize_t w(struct file *f, const char __user *b, size_t n, loff_t *o)
{
	char *t;
	int ok;
	if (n > 64)
		return -EINVAL;
	t = memdup_user(b, n);
	if (IS_ERR(t))
		return PTR_ERR(t);
#ifdef FIXED
	ok = n <= 8 && !memcmp(key, t, n);
#else
	ok = !memcmp(key, t, n); /* BUG */
#endif
	kfree(t);
	return ok ? n : -EACCES;
}
static int hello(void) { key = kmemdup("passw0rd", 8, GFP_KERNEL); return key ? 0 : -ENOMEM; }
static void bye(void) { kfree(key); }
static const struct file_operations fops = { .owner = THIS_MODULE, .write = w };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "memcmp_len", .fops = &fops };
static int __init m_init(void)
{
	int err = hello();
	if (err)
		return err;
	err = misc_register(&mdev);
	if (err)
		bye();
	return err;
}
static void __exit m_exit(void) { misc_deregister(&mdev); bye(); }
module_init(m_init);
module_exit(m_exit);
