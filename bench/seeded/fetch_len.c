// SPDX-License-Identifier: GPL-2.0
/* kind: race */
#include "seeded.h"

struct req { __u32 len; __u8 data[60]; };
static u8 *store;
static long io(struct file *f, unsigned int cmd, unsigned long arg)
{
	struct req __user *u = (void __user *)arg;
	u32 len;

	if (cmd != _IOW('k', 7, struct req))
		return -ENOTTY;
	if (get_user(len, &u->len))
		return -EFAULT;
	if (len > 60)
		return -EINVAL;
#ifndef FIXED
	if (get_user(len, &u->len)) /* BUG */
		return -EFAULT;
#endif
	if (copy_from_user(store, u->data, len)) /* BUG */
		return -EFAULT;
	return 0;
}
static int hello(void) { store = kzalloc(60, GFP_KERNEL); return store ? 0 : -ENOMEM; }
static void bye(void) { kfree(store); }
static const struct file_operations fops = { .owner = THIS_MODULE, .unlocked_ioctl = io };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "fetch_len", .fops = &fops };
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
