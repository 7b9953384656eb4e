// SPDX-License-Identifier: GPL-2.0
/* kind: out of bounds */
#include "seeded.h"

static unsigned int seen;
static netdev_tx_t tx(struct sk_buff *skb, struct net_device *d)
{
	struct ethhdr *e = (void *)skb->data;
	struct iphdr *ip = (void *)(skb->data + ETH_HLEN);
#ifndef FIXED
	if (e->h_proto == htons(ETH_P_IP)
#else
	if (e->h_proto == htons(ETH_P_IP) && pskb_may_pull(skb, ETH_HLEN + sizeof(*ip))
#endif
	    && (ip = (void *)(skb->data + ETH_HLEN))->daddr == htonl(0x0a000001)) /* BUG */
		seen++;
	dev_kfree_skb(skb);
	return NETDEV_TX_OK;
}
static const struct net_device_ops ops = { .ndo_start_xmit = tx };
static void setup(struct net_device *d) { ether_setup(d); d->netdev_ops = &ops; eth_hw_addr_random(d); }
static struct net_device *dev;
static int __init m_init(void)
{
	int err;
	dev = alloc_netdev(0, "shorty%d", NET_NAME_UNKNOWN, setup);
	if (!dev)
		return -ENOMEM;
	err = register_netdev(dev);
	if (err)
		free_netdev(dev);
	return err;
}
static void __exit m_exit(void) { unregister_netdev(dev); free_netdev(dev); }
module_init(m_init); module_exit(m_exit);
