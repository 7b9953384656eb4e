// SPDX-License-Identifier: GPL-2.0
/* kind: leak */
#include "seeded.h"

static struct kmem_cache *kc;
static void *first;
static DEFINE_MUTEX(m);
static ssize_t w(struct file *f, const char __user *b, size_t n, loff_t *o)
{
	mutex_lock(&m);
	if (!first)
		first = kmem_cache_alloc(kc, GFP_KERNEL); /* BUG */
	mutex_unlock(&m);
	return first ? n : -ENOMEM;
}
static int hello(void) { kc = kmem_cache_create("busyobj", 72, 0, 0, NULL); return kc ? 0 : -ENOMEM; }
static void bye(void)
{
#ifdef FIXED
	if (first)
		kmem_cache_free(kc, first);
#endif
	kmem_cache_destroy(kc);
}
static const struct file_operations fops = { .owner = THIS_MODULE, .write = w };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "cache_busy", .fops = &fops };
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
