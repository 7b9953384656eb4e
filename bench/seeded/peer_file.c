// SPDX-License-Identifier: GPL-2.0
/* kind: reference never given back */
#include "seeded.h"

struct pair { struct file *peer; };
static DEFINE_MUTEX(lock);
static struct pair pair;
static long io(struct file *f, unsigned int cmd, unsigned long arg)
{
	int err = 0;

	if (cmd != _IOW('p', 3, int))
		return -ENOTTY;
	mutex_lock(&lock);
	get_file(f); /* BUG */
	pair.peer = f;
	if (arg == 0)
		err = -EINVAL;
#ifdef FIXED
	pair.peer = NULL;
	fput(f);
#else
	if (!err) {
		pair.peer = NULL;
		fput(f);
	}
#endif
	mutex_unlock(&lock);
	return err;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .unlocked_ioctl = io };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "peer_file", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
