// SPDX-License-Identifier: GPL-2.0
/* kind: out of bounds */
#include "seeded.h"
#include <linux/ethtool.h>

static const char names[6][ETH_GSTRING_LEN] = { "rx", "tx", "err", "drop", "coll", "late" };
static struct net_device *dev;
static int count(struct net_device *d, int set)
{
#ifdef FIXED
	return set == ETH_SS_STATS ? 6 : -EOPNOTSUPP;
#else
	return set == ETH_SS_STATS ? 4 : -EOPNOTSUPP;
#endif
}
static void strings(struct net_device *d, u32 set, u8 *b)
{
	if (set == ETH_SS_STATS)
		memcpy(b, names, sizeof(names)); /* BUG */
}
static void stats(struct net_device *d, struct ethtool_stats *s, u64 *v)
{
	int i;
	for (i = 0; i < 6; i++)
		v[i] = i; /* BUG */
}
static const struct ethtool_ops eops = { .get_sset_count = count, .get_strings = strings, .get_ethtool_stats = stats };
static netdev_tx_t xmit(struct sk_buff *skb, struct net_device *d) { dev_kfree_skb(skb); return NETDEV_TX_OK; }
static const struct net_device_ops ops = { .ndo_start_xmit = xmit };
static int __init m_init(void)
{
	int err;
	dev = alloc_etherdev(0);
	if (!dev)
		return -ENOMEM;
	dev->netdev_ops = &ops;
	dev->ethtool_ops = &eops;
	eth_hw_addr_random(dev);
	err = register_netdev(dev);
	if (err)
		free_netdev(dev);
	return err;
}
static void __exit m_exit(void) { unregister_netdev(dev); free_netdev(dev); }
module_init(m_init);
module_exit(m_exit);
