// SPDX-License-Identifier: GPL-2.0
/* kind: rules of an interface */
#include "seeded.h"

static DEFINE_IDA(ida);
static int op(struct inode *i, struct file *f)
{
	int id = ida_alloc(&ida, GFP_KERNEL);
	if (id < 0)
		return id;
	f->private_data = (void *)(long)id;
	return 0;
}
static int rel(struct inode *i, struct file *f)
{
	ida_free(&ida, (long)f->private_data);
#ifndef FIXED
	ida_free(&ida, (long)f->private_data); /* BUG */
#endif
	return 0;
}
static void bye(void) { ida_destroy(&ida); }
static const struct file_operations fops = { .owner = THIS_MODULE, .open = op, .release = rel };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "ida_twice", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); bye(); }
module_init(m_init);
module_exit(m_exit);
