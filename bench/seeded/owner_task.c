// SPDX-License-Identifier: GPL-2.0
/* kind: reference never given back */
#include "seeded.h"

struct session { struct task_struct *task; bool armed; };
static int op(struct inode *i, struct file *f)
{
	struct session *s = kzalloc(sizeof(*s), GFP_KERNEL);

	if (!s)
		return -ENOMEM;
	get_task_struct(current); /* BUG */
	s->task = current;
	f->private_data = s;
	return 0;
}
static int rel(struct inode *i, struct file *f)
{
	struct session *s = f->private_data;
#ifndef FIXED
	if (s->armed)
#endif
		put_task_struct(s->task);
	kfree(s);
	return 0;
}
static ssize_t w(struct file *f, const char __user *b, size_t n, loff_t *o)
{
	struct session *s = f->private_data;
	char c;

	if (!n || get_user(c, b))
		return -EFAULT;
	if (c == '~')
		WRITE_ONCE(s->armed, true);
	return n;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .open = op, .release = rel, .write = w };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "owner_task", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
