// SPDX-License-Identifier: GPL-2.0
/* kind: out of bounds */
#include "seeded.h"

struct pr { u64 packets, bytes; char tag[32]; };
static netdev_tx_t tx(struct sk_buff *skb, struct net_device *d)
{
	struct pr *p = netdev_priv(d);
	p->packets++; /* BUG */
	p->bytes += skb->len;
	memcpy(p->tag, "transmit", 9);
	dev_kfree_skb(skb);
	return NETDEV_TX_OK;
}
static const struct net_device_ops ops = { .ndo_start_xmit = tx };
static void setup(struct net_device *d) { ether_setup(d); d->netdev_ops = &ops; eth_hw_addr_random(d); }
static struct net_device *dev;
static int __init m_init(void)
{
	int err;
#ifndef FIXED
	dev = alloc_netdev(sizeof(struct pr *), "priv%d", NET_NAME_UNKNOWN, setup);
#else
	dev = alloc_netdev(sizeof(struct pr), "priv%d", NET_NAME_UNKNOWN, setup);
#endif
	if (!dev)
		return -ENOMEM;
	err = register_netdev(dev);
	if (err)
		free_netdev(dev);
	return err;
}
static void __exit m_exit(void) { unregister_netdev(dev); free_netdev(dev); }
module_init(m_init); module_exit(m_exit);
