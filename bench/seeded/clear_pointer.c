// SPDX-License-Identifier: GPL-2.0
/* kind: unwritten memory */
#include "seeded.h"

struct reply { u32 version; u32 flags; char name[24]; u64 stamp; };
static long io(struct file *f, unsigned int cmd, unsigned long arg)
{
	struct reply *reply;
	long err = 0;

	if (cmd != _IOR('c', 5, struct reply))
		return -ENOTTY;
	reply = kmalloc(sizeof(*reply), GFP_KERNEL);
	if (!reply)
		return -ENOMEM;
#ifdef FIXED
	memset(reply, 0, sizeof(*reply));
#else
	memset(reply, 0, sizeof(reply));
#endif
	reply->version = 3;
	if (copy_to_user((void __user *)arg, reply, sizeof(*reply))) /* BUG */
		err = -EFAULT;
	kfree(reply);
	return err;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .unlocked_ioctl = io };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "clear_pointer", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
