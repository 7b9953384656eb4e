// SPDX-License-Identifier: GPL-2.0
/* kind: out of bounds */
#include "seeded.h"
#include <linux/mempool.h>

struct cmd { u32 op; u8 data[28]; };
static mempool_t *pool;
static ssize_t w(struct file *f, const char __user *b, size_t n, loff_t *o)
{
	struct cmd *c = mempool_alloc(pool, GFP_KERNEL);
	ssize_t ret = n;

	if (!c)
		return -ENOMEM;
#ifdef FIXED
	if (n > sizeof(c->data))
#else
	if (n > sizeof(*c))
#endif
		ret = -EINVAL;
	else if (copy_from_user(c->data, b, n)) /* BUG */
		ret = -EFAULT;
	mempool_free(c, pool);
	return ret;
}
static int hello(void) { pool = mempool_create_kmalloc_pool(4, sizeof(struct cmd)); return pool ? 0 : -ENOMEM; }
static void bye(void) { mempool_destroy(pool); }
static const struct file_operations fops = { .owner = THIS_MODULE, .write = w };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "pool_over", .fops = &fops };
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
