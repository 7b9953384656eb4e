// SPDX-License-Identifier: GPL-2.0
/* kind: out of bounds */
#include "seeded.h"

static int *tab;
static long io(struct file *f, unsigned int cmd, unsigned long arg)
{
	struct nq { int idx; int val; } q;
	if (cmd != _IOW('n', 3, struct nq))
		return -ENOTTY;
	if (copy_from_user(&q, (void __user *)arg, sizeof(q)))
		return -EFAULT;
#ifndef FIXED
	if (q.idx >= 16)
#else
	if (q.idx < 0 || q.idx >= 16)
#endif
		return -EINVAL;
	tab[q.idx] = q.val; /* BUG */
	return 0;
}
static int hello(void) { tab = kcalloc(16, sizeof(int), GFP_KERNEL); return tab ? 0 : -ENOMEM; }
static void bye(void) { kfree(tab); }
static const struct file_operations fops = { .owner = THIS_MODULE, .unlocked_ioctl = io };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "neg_index", .fops = &fops };
static int __init m_init(void)
{
	int err = hello();
	if (err)
		return err;
	err = misc_register(&mdev);
	if (err)
		bye();
	return err;
}
static void __exit m_exit(void) { misc_deregister(&mdev); bye(); }
module_init(m_init);
module_exit(m_exit);
