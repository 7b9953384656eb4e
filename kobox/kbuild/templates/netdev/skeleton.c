// SPDX-License-Identifier: GPL-2.0
/*
 * skeleton: a network interface, skeleton0, whose every packet comes back.
 *
 * Like the loopback device it sends into its own receive path, so it needs no
 * hardware; unlike it, it has Ethernet headers and a MAC address.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/etherdevice.h>
#include <linux/module.h>
#include <linux/netdevice.h>
#include <linux/skbuff.h>
#include <net/dst.h>

static struct net_device *skeleton_dev;

static int skeleton_open(struct net_device *dev)
{
	netif_start_queue(dev);
	return 0;
}

static int skeleton_stop(struct net_device *dev)
{
	netif_stop_queue(dev);
	return 0;
}

/* The packet is ours from here on: it must be freed, or given away. */
static netdev_tx_t skeleton_xmit(struct sk_buff *skb, struct net_device *dev)
{
	unsigned int len = skb->len;

	DEV_STATS_INC(dev, tx_packets);
	DEV_STATS_ADD(dev, tx_bytes, len);

	skb_tx_timestamp(skb);
	skb_orphan(skb);	/* off the sender's account */
	skb_dst_drop(skb);
	/* Takes the Ethernet header off and says what is behind it. */
	skb->protocol = eth_type_trans(skb, dev);
	if (netif_rx(skb) == NET_RX_SUCCESS) {
		DEV_STATS_INC(dev, rx_packets);
		DEV_STATS_ADD(dev, rx_bytes, len);
	} else {
		DEV_STATS_INC(dev, rx_dropped);
	}
	return NETDEV_TX_OK;
}

static const struct net_device_ops skeleton_ops = {
	.ndo_open = skeleton_open,
	.ndo_stop = skeleton_stop,
	.ndo_start_xmit = skeleton_xmit,
	.ndo_set_mac_address = eth_mac_addr,
	.ndo_validate_addr = eth_validate_addr,
};

static void skeleton_setup(struct net_device *dev)
{
	ether_setup(dev);
	dev->netdev_ops = &skeleton_ops;
	dev->flags |= IFF_NOARP;	/* nobody there to ask */
	eth_hw_addr_random(dev);
}

static int __init skeleton_init(void)
{
	int err;

	skeleton_dev = alloc_netdev(0, "skeleton%d", NET_NAME_ENUM,
				    skeleton_setup);
	if (!skeleton_dev)
		return -ENOMEM;
	err = register_netdev(skeleton_dev);
	if (err)
		free_netdev(skeleton_dev);
	return err;
}

static void __exit skeleton_exit(void)
{
	unregister_netdev(skeleton_dev);
	free_netdev(skeleton_dev);
}

module_init(skeleton_init);
module_exit(skeleton_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A network interface whose packets come back");
