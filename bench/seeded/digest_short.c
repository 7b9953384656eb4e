// SPDX-License-Identifier: GPL-2.0
/* kind: out of bounds */
#include "seeded.h"
#include <crypto/hash.h>

struct rec { u8 sum[16]; u32 tag; };
static struct crypto_shash *t;
static ssize_t w(struct file *f, const char __user *b, size_t n, loff_t *o)
{
	struct rec *r = kzalloc(sizeof(*r), GFP_KERNEL);
	u8 data[64];
	ssize_t ret;

	if (!r)
		return -ENOMEM;
	n = min(n, sizeof(data));
	if (copy_from_user(data, b, n)) {
		kfree(r);
		return -EFAULT;
	}
	ret = crypto_shash_tfm_digest(t, data, n, r->sum); /* BUG */
	kfree(r);
	return ret ? ret : n;
}
static int hello(void)
{
#ifdef FIXED
	t = crypto_alloc_shash("md5", 0, 0);
#else
	t = crypto_alloc_shash("sha256", 0, 0);
#endif
	return PTR_ERR_OR_ZERO(t);
}
static void bye(void) { crypto_free_shash(t); }
static const struct file_operations fops = { .owner = THIS_MODULE, .write = w };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "digest_short", .fops = &fops };
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
