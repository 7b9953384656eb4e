// SPDX-License-Identifier: GPL-2.0
/* kind: rules of an interface */
#include "seeded.h"

static struct kmem_cache *kc;
static void *obj;
static ssize_t r(struct file *f, char __user *b, size_t n, loff_t *o)
{
	n = min_t(size_t, n, 64);
	if (copy_to_user(b, obj, n)) /* BUG */
		return -EFAULT;
	return n;
}
static int hello(void)
{
#ifndef FIXED
	kc = kmem_cache_create("ucobj", 64, 0, 0, NULL);
#else
	kc = kmem_cache_create_usercopy("ucobj", 64, 0, 0, 0, 64, NULL);
#endif
	if (!kc)
		return -ENOMEM;
	obj = kmem_cache_zalloc(kc, GFP_KERNEL);
	if (!obj) {
		kmem_cache_destroy(kc);
		return -ENOMEM;
	}
	return 0;
}
static void bye(void) { kmem_cache_free(kc, obj); kmem_cache_destroy(kc); }
static const struct file_operations fops = { .owner = THIS_MODULE, .read = r };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "usercopy_cache", .fops = &fops };
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
