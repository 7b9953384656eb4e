// SPDX-License-Identifier: GPL-2.0
/* kind: leak */
#include "seeded.h"

static struct net_device *dev;
struct priv { void *ring; };
static netdev_tx_t xmit(struct sk_buff *skb, struct net_device *d) { dev_kfree_skb(skb); return NETDEV_TX_OK; }
static int dev_up(struct net_device *d)
{
	struct priv *p = netdev_priv(d);

	p->ring = kzalloc(512, GFP_KERNEL); /* BUG */
	if (!p->ring)
		return -ENOMEM;
	netif_start_queue(d);
	return 0;
}
static int dev_down(struct net_device *d)
{
	netif_stop_queue(d);
#ifdef FIXED
	kfree(((struct priv *)netdev_priv(d))->ring);
#endif
	return 0;
}
static const struct net_device_ops ops = { .ndo_start_xmit = xmit, .ndo_open = dev_up, .ndo_stop = dev_down };
static void setup(struct net_device *d)
{
	ether_setup(d);
	d->netdev_ops = &ops;
	eth_hw_addr_random(d);
}
static int __init m_init(void)
{
	int err;

	dev = alloc_netdev(sizeof(struct priv), "sd%d", NET_NAME_ENUM, setup);
	if (!dev)
		return -ENOMEM;
	err = register_netdev(dev);
	if (err)
		free_netdev(dev);
	return err;
}
static void __exit m_exit(void) { unregister_netdev(dev); free_netdev(dev); }
module_init(m_init);
module_exit(m_exit);
