// SPDX-License-Identifier: GPL-2.0
/* kind: out of bounds */
#include "seeded.h"

static struct net_device *dev;
static netdev_tx_t xmit(struct sk_buff *skb, struct net_device *d)
{
	u8 *h;

#ifdef FIXED
	if (skb_cow_head(skb, 160)) {
		dev_kfree_skb(skb);
		d->stats.tx_errors++;
		return NETDEV_TX_OK;
	}
#endif
	h = skb_push(skb, 160); /* BUG */
	memset(h, 0x55, 160);
	d->stats.tx_bytes += skb->len;
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

	dev = alloc_netdev(0, "th%d", NET_NAME_ENUM, setup);
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
