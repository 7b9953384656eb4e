// SPDX-License-Identifier: GPL-2.0
/* kind: leak */
#include "seeded.h"

struct knode { struct kref ref; int value; };
static struct knode *cur;
static DEFINE_MUTEX(lock);
static void node_free(struct kref *k) { kfree(container_of(k, struct knode, ref)); }
static ssize_t w(struct file *f, const char __user *b, size_t n, loff_t *o)
{
	struct knode *new = kzalloc(sizeof(*new), GFP_KERNEL), *old; /* BUG */
	int val = 0, err = kstrtoint_from_user(b, n, 0, &val);

	if (!new)
		return -ENOMEM;
	new->value = val;
	kref_init(&new->ref);
	mutex_lock(&lock);
	old = cur;
	cur = new;
	mutex_unlock(&lock);
	if (old)
		kref_put(&old->ref, node_free);
	return err ?: n;
}
static ssize_t r(struct file *f, char __user *b, size_t n, loff_t *o)
{
	char text[16];
	struct knode *it;
	int len;

	mutex_lock(&lock);
	it = cur;
	if (it)
		kref_get(&it->ref);
	mutex_unlock(&lock);
	if (!it)
		return 0;
	len = scnprintf(text, sizeof(text), "%d\n", it->value);
#ifndef FIXED
	if (*o)
		return 0;
#endif
	kref_put(&it->ref, node_free);
	return simple_read_from_buffer(b, n, o, text, len);
}
static void bye(void)
{
	if (cur)
		kref_put(&cur->ref, node_free);
}
static const struct file_operations fops = { .owner = THIS_MODULE, .read = r, .write = w };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "node_kref", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); bye(); }
module_init(m_init);
module_exit(m_exit);
