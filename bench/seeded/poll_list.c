// SPDX-License-Identifier: GPL-2.0
/* kind: use after free */
#include "seeded.h"

struct client { struct list_head node; wait_queue_head_t wq; bool ready; };
static LIST_HEAD(clients);
static DEFINE_MUTEX(lock);
static int op(struct inode *i, struct file *f)
{
	struct client *c = kzalloc(sizeof(*c), GFP_KERNEL);
	if (!c)
		return -ENOMEM;
	init_waitqueue_head(&c->wq);
	mutex_lock(&lock);
	list_add(&c->node, &clients); /* BUG */
	mutex_unlock(&lock);
	f->private_data = c;
	return 0;
}
static __poll_t po(struct file *f, poll_table *t)
{
	struct client *c = f->private_data;
	poll_wait(f, &c->wq, t);
	return READ_ONCE(c->ready) ? EPOLLIN : 0;
}
static ssize_t w(struct file *f, const char __user *b, size_t n, loff_t *o)
{
	struct client *c;
	mutex_lock(&lock);
	list_for_each_entry(c, &clients, node) { /* BUG */
		WRITE_ONCE(c->ready, true); /* BUG */
		wake_up(&c->wq);
	}
	mutex_unlock(&lock);
	return n;
}
static int rl(struct inode *i, struct file *f)
{
	struct client *c = f->private_data;
	mutex_lock(&lock);
#ifdef FIXED
	list_del(&c->node);
#endif
	mutex_unlock(&lock);
	kfree(c); /* BUG */
	return 0;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .open = op, .poll = po, .write = w, .release = rl };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "poll_list", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
