// SPDX-License-Identifier: GPL-2.0
/* kind: leak */
#include "seeded.h"

static struct net_device *dev;
static netdev_tx_t xmit(struct sk_buff *skb, struct net_device *d)
{
	dev_kfree_skb(skb);
	return NETDEV_TX_OK;
}
static const struct net_device_ops ops = { .ndo_start_xmit = xmit };
static int __init m_init(void)
{
	int err;

	dev = alloc_etherdev(64); /* BUG */
	if (!dev)
		return -ENOMEM;
	dev->netdev_ops = &ops;
	eth_hw_addr_random(dev);
	err = register_netdev(dev);
	if (err)
		free_netdev(dev);
	return err;
}
static void __exit m_exit(void)
{
	unregister_netdev(dev); /* BUG */
#ifdef FIXED
	free_netdev(dev);
#endif
}
module_init(m_init);
module_exit(m_exit);
