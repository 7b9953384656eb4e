// SPDX-License-Identifier: GPL-2.0
/* kind: left behind */
#include "seeded.h"

struct obj { struct rcu_head rcu; int v; };
static struct kmem_cache *cache;
static struct obj __rcu *cur;
static DEFINE_MUTEX(lock);
static void obj_free(struct rcu_head *h) { kmem_cache_free(cache, container_of(h, struct obj, rcu)); }
static ssize_t w(struct file *f, const char __user *b, size_t n, loff_t *o)
{
	struct obj *new = kmem_cache_zalloc(cache, GFP_KERNEL), *old;

	if (!new)
		return -ENOMEM;
	mutex_lock(&lock);
	old = rcu_replace_pointer(cur, new, lockdep_is_held(&lock));
	mutex_unlock(&lock);
	if (old)
		call_rcu(&old->rcu, obj_free);
	return n;
}
static int hello(void)
{
	cache = kmem_cache_create("seeded_obj", sizeof(struct obj), 0, 0, NULL);
	return cache ? 0 : -ENOMEM;
}
static void bye(void)
{
	struct obj *last = rcu_dereference_protected(cur, 1);

	if (last)
		call_rcu(&last->rcu, obj_free); /* BUG */
#ifdef FIXED
	rcu_barrier();
#endif
	kmem_cache_destroy(cache); /* BUG */
}
static const struct file_operations fops = { .owner = THIS_MODULE, .write = w };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "cache_rcu", .fops = &fops };
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
