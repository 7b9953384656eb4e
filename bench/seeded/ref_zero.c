// SPDX-License-Identifier: GPL-2.0
/* kind: use after free */
#include "seeded.h"

struct obj { refcount_t ref; int v; };
static struct obj *cur;
static DEFINE_MUTEX(lock);
static void put(struct obj *x) { if (refcount_dec_and_test(&x->ref)) kfree(x); }
static ssize_t w(struct file *f, const char __user *b, size_t n, loff_t *o)
{
	mutex_lock(&lock);
	if (cur) {
		put(cur); /* BUG */
#ifdef FIXED
		cur = NULL;
#endif
	}
	mutex_unlock(&lock);
	return n;
}
static ssize_t r(struct file *f, char __user *b, size_t n, loff_t *o)
{
	int v = 0;

	mutex_lock(&lock);
	if (cur) {
		refcount_inc(&cur->ref); /* BUG */
		v = cur->v;
		put(cur);
	}
	mutex_unlock(&lock);
	return put_user(v, (int __user *)b) ? -EFAULT : 0;
}
static int hello(void)
{
	cur = kzalloc(sizeof(*cur), GFP_KERNEL);
	if (!cur)
		return -ENOMEM;
	refcount_set(&cur->ref, 1);
	return 0;
}
static void bye(void) { if (cur) put(cur); }
static const struct file_operations fops = { .owner = THIS_MODULE, .read = r, .write = w };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "ref_zero", .fops = &fops };
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
