// SPDX-License-Identifier: GPL-2.0
/* kind: out of bounds */
#include "seeded.h"

static netdev_tx_t tx(struct sk_buff *skb, struct net_device *d)
{
	struct sk_buff *c = alloc_skb(64, GFP_ATOMIC);
	unsigned int n = skb->len;
	if (c) {
#ifdef FIXED
		n = min(n, 64u);
#endif
		skb_copy_bits(skb, 0, skb_put(c, n), n); /* BUG */
		consume_skb(c);
	}
	dev_kfree_skb(skb);
	return NETDEV_TX_OK;
}
static const struct net_device_ops ops = { .ndo_start_xmit = tx };
static void setup(struct net_device *d) { ether_setup(d); d->netdev_ops = &ops; eth_hw_addr_random(d); }
static struct net_device *dev;
static int __init m_init(void)
{
	int err;
	dev = alloc_netdev(0, "over%d", NET_NAME_UNKNOWN, setup);
	if (!dev)
		return -ENOMEM;
	err = register_netdev(dev);
	if (err)
		free_netdev(dev);
	return err;
}
static void __exit m_exit(void) { unregister_netdev(dev); free_netdev(dev); }
module_init(m_init); module_exit(m_exit);
