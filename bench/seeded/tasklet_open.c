// SPDX-License-Identifier: GPL-2.0
/* kind: use after free */
#include "seeded.h"

struct ctx { struct tasklet_struct t; u32 n; };
static void run(struct tasklet_struct *t)
{
	struct ctx *c = from_tasklet(c, t, t);
	c->n++;
}
static int op(struct inode *i, struct file *f)
{
	struct ctx *c = kzalloc(sizeof(*c), GFP_KERNEL);
	if (!c)
		return -ENOMEM;
	tasklet_setup(&c->t, run);
	f->private_data = c;
	return 0;
}
static ssize_t w(struct file *f, const char __user *b, size_t n, loff_t *o)
{
	struct ctx *c = f->private_data;
	tasklet_disable(&c->t);
	tasklet_schedule(&c->t); /* BUG */
	return n;
}
static int rl(struct inode *i, struct file *f)
{
	struct ctx *c = f->private_data;
#ifdef FIXED
	while (atomic_read(&c->t.count))
		tasklet_enable(&c->t);
	tasklet_kill(&c->t);
#endif
	kfree(c); /* BUG */
	return 0;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .open = op, .write = w, .release = rl };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "tasklet_open", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
