// SPDX-License-Identifier: GPL-2.0
/* kind: reference never given back */
#include "seeded.h"

struct watch { struct dentry *dir; struct mutex lock; };
static int op(struct inode *i, struct file *f)
{
	struct watch *w = kzalloc(sizeof(*w), GFP_KERNEL);

	if (!w)
		return -ENOMEM;
	mutex_init(&w->lock);
	f->private_data = w;
	return 0;
}
static int rel(struct inode *i, struct file *f)
{
	struct watch *w = f->private_data;

	dput(w->dir);
	kfree(w);
	return 0;
}
static long io(struct file *f, unsigned int cmd, unsigned long arg)
{
	struct watch *w = f->private_data;

	if (cmd != _IO('w', 1))
		return -ENOTTY;
	mutex_lock(&w->lock);
#ifdef FIXED
	dput(w->dir);
#endif
	w->dir = dget(f->f_path.dentry); /* BUG */
	mutex_unlock(&w->lock);
	return 0;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .open = op, .release = rel, .unlocked_ioctl = io };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "watch_dir", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
