// SPDX-License-Identifier: GPL-2.0
/* kind: race */
#include "seeded.h"

struct conf { u32 mtu; struct rcu_head rcu; };
static struct conf __rcu *conf;
static DEFINE_MUTEX(lock);
static ssize_t r(struct file *f, char __user *b, size_t n, loff_t *o)
{
	struct conf *c;
	u32 v;
	rcu_read_lock();
	c = rcu_dereference(conf);
#ifdef FIXED
	v = c->mtu;
	rcu_read_unlock();
#else
	rcu_read_unlock();
	v = c->mtu; /* BUG */
#endif
	return n >= 4 && !copy_to_user(b, &v, 4) ? 4 : -EFAULT;
}
static ssize_t w(struct file *f, const char __user *b, size_t n, loff_t *o)
{
	struct conf *c = kzalloc(sizeof(*c), GFP_KERNEL), *old;
	if (!c)
		return -ENOMEM;
	c->mtu = n;
	mutex_lock(&lock);
	old = rcu_replace_pointer(conf, c, lockdep_is_held(&lock));
	mutex_unlock(&lock);
	synchronize_rcu();
	kfree(old);
	return n;
}
static int hello(void)
{
	struct conf *c = kzalloc(sizeof(*c), GFP_KERNEL);
	RCU_INIT_POINTER(conf, c);
	return c ? 0 : -ENOMEM;
}
static void bye(void) { kfree(rcu_dereference_protected(conf, 1)); }
static const struct file_operations fops = { .owner = THIS_MODULE, .read = r, .write = w };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "rcu_late", .fops = &fops };
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
