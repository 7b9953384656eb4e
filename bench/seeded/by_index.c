// SPDX-License-Identifier: GPL-2.0
/* kind: reference never given back */
#include "seeded.h"

static long io(struct file *f, unsigned int cmd, unsigned long arg)
{
	struct net_device *d;

	if (cmd != 0x5401 && cmd != 0x5402)
		return -ENOTTY;
	d = dev_get_by_index(&init_net, 1); /* BUG */
	if (!d)
		return -ENODEV;
	if (cmd == 0x5402) {
#ifdef FIXED
		dev_put(d);
#endif
		return -EOPNOTSUPP;
	}
	dev_put(d);
	return d->mtu > 0 ? 0 : -EINVAL;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .unlocked_ioctl = io };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "by_index", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
