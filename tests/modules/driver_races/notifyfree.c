// SPDX-License-Identifier: GPL-2.0
#include "driver.h"
/* A chain of notifiers is called without the lock under which they are removed. */
struct listener { struct notifier_block nb; int hits; };
static RAW_NOTIFIER_HEAD(chain);
static struct listener *one;
static DEFINE_MUTEX(m);
static int heard(struct notifier_block *nb, unsigned long e, void *d)
{
	struct listener *l = container_of(nb, struct listener, nb);
	l->hits++; /* the race */
	return NOTIFY_OK;
}
static ssize_t n_write(struct file *f, const char __user *u, size_t n, loff_t *o)
{
	IF_RIGHT(mutex_lock(&m);)
	raw_notifier_call_chain(&chain, 1, NULL);
	IF_RIGHT(mutex_unlock(&m);)
	return n;
}
static long n_ioctl(struct file *f, unsigned int cmd, unsigned long arg)
{
	long ret = 0;
	mutex_lock(&m);
	if (cmd == 0x4e01 && !one) {
		one = kzalloc(sizeof(*one), GFP_KERNEL);
		if (one) { one->nb.notifier_call = heard; raw_notifier_chain_register(&chain, &one->nb); }
	} else if (cmd == 0x4e02 && one) {
		raw_notifier_chain_unregister(&chain, &one->nb);
		kfree(one);
		one = NULL;
	} else {
		ret = -ENOTTY;
	}
	mutex_unlock(&m);
	return ret;
}
MISC("notifyfree", .write = n_write, .unlocked_ioctl = n_ioctl);
static int __init n_init(void) { return misc_register(&device); }
static void __exit n_exit(void) { misc_deregister(&device); kfree(one); }
module_init(n_init); module_exit(n_exit);
