// SPDX-License-Identifier: GPL-2.0
/* kind: reference never given back */
#include "seeded.h"

static long io(struct file *f, unsigned int cmd, unsigned long arg)
{
	struct net_device *dev;
	int err = 0;

	if (cmd != _IO('L', 4))
		return -ENOTTY;
	rcu_read_lock();
	dev = dev_get_by_index_rcu(&init_net, 1);
	if (dev)
		dev_hold(dev); /* BUG */
	rcu_read_unlock();
	if (!dev)
		return -ENODEV;
	if (arg > dev->mtu) {
		err = -E2BIG;
#ifdef FIXED
		goto out;
#else
		return err;
#endif
	}
	err = dev->ifindex;
#ifdef FIXED
out:
#endif
	dev_put(dev);
	return err;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .unlocked_ioctl = io };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "lower_dev", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
