// SPDX-License-Identifier: GPL-2.0
#include "driver.h"
/* A list that is read under RCU; what is taken out of it is freed at once. */
struct route { struct list_head node; int metric; };
static LIST_HEAD(routes);
static DEFINE_SPINLOCK(lock);
static ssize_t r_read(struct file *f, char __user *u, size_t n, loff_t *p)
{
	struct route *route;
	int sum = 0;
	rcu_read_lock();
	list_for_each_entry_rcu(route, &routes, node) /* the race */
		sum += route->metric;
	rcu_read_unlock();
	return put_user(sum, (int __user *)u) ? -EFAULT : 4;
}
static ssize_t r_write(struct file *f, const char __user *u, size_t n, loff_t *p)
{
	struct route *route = kzalloc(sizeof(*route), GFP_KERNEL), *old = NULL;
	if (!route)
		return -ENOMEM;
	route->metric = n;
	spin_lock(&lock);
	if (!list_empty(&routes)) {
		old = list_first_entry(&routes, struct route, node);
		list_del_rcu(&old->node);
	}
	list_add_rcu(&route->node, &routes);
	spin_unlock(&lock);
	IF_RIGHT(synchronize_rcu();)
	kfree(old); /* freed */
	return n;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .write = r_write, .read = r_read };
static struct miscdevice dev = { .minor = MISC_DYNAMIC_MINOR, .name = "rculist", .fops = &fops };
static int __init r_init(void) { return misc_register(&dev); }
static void __exit r_exit(void)
{
	struct route *route, *next;
	misc_deregister(&dev);
	list_for_each_entry_safe(route, next, &routes, node)
		kfree(route);
}
module_init(r_init);
module_exit(r_exit);
