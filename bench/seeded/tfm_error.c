// SPDX-License-Identifier: GPL-2.0
/* kind: leak */
#include "seeded.h"
#include <crypto/hash.h>

static ssize_t w(struct file *f, const char __user *b, size_t n, loff_t *o)
{
	struct crypto_shash *t = crypto_alloc_shash("sha256", 0, 0); /* BUG */
	u8 out[32], data[64];
	int err;

	if (IS_ERR(t))
		return PTR_ERR(t);
	n = min(n, sizeof(data));
	if (copy_from_user(data, b, n)) {
#ifdef FIXED
		crypto_free_shash(t);
#endif
		return -EFAULT;
	}
	err = crypto_shash_tfm_digest(t, data, n, out);
	crypto_free_shash(t);
	return err ? err : n;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .write = w };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "tfm_error", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
