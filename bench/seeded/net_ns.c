// SPDX-License-Identifier: GPL-2.0
/* kind: reference never given back */
#include "seeded.h"

struct conf { struct net *net; };
static int op(struct inode *i, struct file *f)
{
	struct conf *c = kzalloc(sizeof(*c), GFP_KERNEL);

	if (!c)
		return -ENOMEM;
	c->net = get_net(current->nsproxy->net_ns); /* BUG */
	f->private_data = c;
	return 0;
}
static int rel(struct inode *i, struct file *f)
{
	struct conf *c = f->private_data;
#ifdef FIXED
	put_net(c->net);
#endif
	kfree(c);
	return 0;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .open = op, .release = rel };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "net_ns", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
