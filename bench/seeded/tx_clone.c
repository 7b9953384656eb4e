// SPDX-License-Identifier: GPL-2.0
/* kind: leak */
#include "seeded.h"

struct port { struct sk_buff_head log; };
static struct net_device *dev;
static netdev_tx_t xmit(struct sk_buff *skb, struct net_device *d)
{
	struct port *p = netdev_priv(d);
	struct sk_buff *copy = skb_clone(skb, GFP_ATOMIC); /* BUG */

	if (copy) {
		if (skb_queue_len(&p->log) < 2)
			skb_queue_tail(&p->log, copy);
#ifdef FIXED
		else
			kfree_skb(copy);
#endif
	}
	d->stats.tx_packets++;
	dev_kfree_skb(skb);
	return NETDEV_TX_OK;
}
static const struct net_device_ops ops = { .ndo_start_xmit = xmit };
static void setup(struct net_device *d)
{
	ether_setup(d);
	d->netdev_ops = &ops;
	eth_hw_addr_random(d);
}
static int __init m_init(void)
{
	int err;

	dev = alloc_netdev(sizeof(struct port), "tc%d", NET_NAME_ENUM, setup);
	if (!dev)
		return -ENOMEM;
	skb_queue_head_init(&((struct port *)netdev_priv(dev))->log);
	err = register_netdev(dev);
	if (err)
		free_netdev(dev);
	return err;
}
static void __exit m_exit(void)
{
	struct port *p = netdev_priv(dev);

	unregister_netdev(dev);
	skb_queue_purge(&p->log);
	free_netdev(dev);
}
module_init(m_init);
module_exit(m_exit);
