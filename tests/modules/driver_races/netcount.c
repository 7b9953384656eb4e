// SPDX-License-Identifier: GPL-2.0
#include "driver.h"
/* A network device that sends nowhere, takes no lock, and counts what it has sent. */
struct priv { u64 packets, bytes; spinlock_t lock; };
static struct net_device *nd;
static netdev_tx_t x(struct sk_buff *skb, struct net_device *d)
{
	struct priv *p = netdev_priv(d);
	IF_RIGHT(spin_lock(&p->lock);)
	p->packets++; /* the race */
	p->bytes += skb->len; /* the race */
	IF_RIGHT(spin_unlock(&p->lock);)
	dev_kfree_skb(skb);
	return NETDEV_TX_OK;
}
static void st(struct net_device *d, struct rtnl_link_stats64 *s) { struct priv *p = netdev_priv(d); s->tx_packets = READ_ONCE(p->packets); s->tx_bytes = READ_ONCE(p->bytes); }
static const struct net_device_ops ops = { .ndo_start_xmit = x, .ndo_get_stats64 = st };
static void setup(struct net_device *d) { ether_setup(d); d->netdev_ops = &ops; NEEDS_NO_LOCK(d); d->flags |= IFF_NOARP; d->priv_flags |= IFF_NO_QUEUE; eth_hw_addr_random(d); spin_lock_init(&((struct priv *)netdev_priv(d))->lock); }
static int __init t_init(void) { int e; nd = alloc_netdev(sizeof(struct priv), "nc%d", NET_NAME_UNKNOWN, setup); if (!nd) return -ENOMEM; e = register_netdev(nd); if (e) free_netdev(nd); return e; }
static void __exit t_exit(void) { unregister_netdev(nd); free_netdev(nd); }
module_init(t_init); module_exit(t_exit);
