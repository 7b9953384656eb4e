// SPDX-License-Identifier: GPL-2.0
/* kind: use after free */
#include "seeded.h"

struct n { struct rb_node rb; int key; };
static struct rb_root root = RB_ROOT;
static DEFINE_MUTEX(m);
static struct n *find(int key)
{
	struct rb_node *p = root.rb_node;
	while (p) {
		struct n *x = rb_entry(p, struct n, rb);
		if (key == x->key) /* BUG */
			return x;
		p = key < x->key ? p->rb_left : p->rb_right;
	}
	return NULL;
}
static ssize_t w(struct file *f, const char __user *b, size_t len, loff_t *o)
{
	struct rb_node **p = &root.rb_node, *par = NULL;
	struct n *x;
	unsigned char c;
	if (!len || get_user(c, (unsigned char __user *)b))
		return -EFAULT;
	mutex_lock(&m);
	x = find(c);
	if (x) {
#ifdef FIXED
		rb_erase(&x->rb, &root);
#endif
		kfree(x);
		goto out;
	}
	x = kzalloc(sizeof(*x), GFP_KERNEL);
	if (!x)
		goto out;
	x->key = c;
	while (*p) {
		par = *p;
		p = c < rb_entry(par, struct n, rb)->key ? &par->rb_left : &par->rb_right;
	}
	rb_link_node(&x->rb, par, p);
	rb_insert_color(&x->rb, &root);
out:
	mutex_unlock(&m);
	return len;
}
static void bye(void) { struct n *x, *y; rbtree_postorder_for_each_entry_safe(x, y, &root, rb) kfree(x); }
static const struct file_operations fops = { .owner = THIS_MODULE, .write = w };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "rb_noerase", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); bye(); }
module_init(m_init);
module_exit(m_exit);
