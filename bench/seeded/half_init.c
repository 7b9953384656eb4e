// SPDX-License-Identifier: GPL-2.0
/* kind: unwritten memory */
#include "seeded.h"

struct st { int mode, limit; char tag[16]; };
static long io(struct file *f, unsigned int cmd, unsigned long arg)
{
	struct st *s;
	int ret = 0;
	if (cmd != _IOW('h', 1, int))
		return -ENOTTY;
	s = kmalloc(sizeof(*s), GFP_KERNEL);
	if (!s)
		return -ENOMEM;
	if (get_user(s->mode, (int __user *)arg)) {
		kfree(s);
		return -EFAULT;
	}
#ifdef FIXED
	s->limit = 5;
#endif
	if (s->mode > s->limit) /* BUG */
		ret = -ERANGE;
	kfree(s);
	return ret;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .unlocked_ioctl = io };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "half_init", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
