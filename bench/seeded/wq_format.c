// SPDX-License-Identifier: GPL-2.0
/* kind: rules of an interface */
#include "seeded.h"

static long io(struct file *f, unsigned int cmd, unsigned long arg)
{
	struct workqueue_struct *wq;
	char name[16] = "";

	if (cmd != _IOW('q', 2, char[15]))
		return -ENOTTY;
	if (copy_from_user(name, (void __user *)arg, sizeof(name) - 1))
		return -EFAULT;
#ifdef FIXED
	wq = alloc_workqueue("%s", 0, 1, name);
#else
	wq = alloc_workqueue(name, 0, 1); /* BUG */
#endif
	if (!wq)
		return -ENOMEM;
	destroy_workqueue(wq);
	return 0;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .unlocked_ioctl = io };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "wq_format", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
