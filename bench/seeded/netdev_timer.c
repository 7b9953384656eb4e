// SPDX-License-Identifier: GPL-2.0
/* kind: use after free */
#include "seeded.h"

struct port { struct timer_list tick; struct net_device *d; u64 n; };
static struct net_device *dev;
static void tick(struct timer_list *t)
{
	struct port *p = container_of(t, struct port, tick);
	p->n++;
	mod_timer(&p->tick, jiffies + HZ / 10);
}
static int op(struct net_device *d)
{
	struct port *p = netdev_priv(d);
	p->d = d;
	mod_timer(&p->tick, jiffies + HZ / 10); /* BUG */
	netif_start_queue(d);
	return 0;
}
static int stop(struct net_device *d)
{
	struct port *p = netdev_priv(d);
	netif_stop_queue(d);
#ifdef FIXED
	TIMER_SYNC(&p->tick);
	timer_setup(&p->tick, tick, 0);
#else
	(void)p;
#endif
	return 0;
}
static netdev_tx_t xmit(struct sk_buff *skb, struct net_device *d)
{
	dev_kfree_skb(skb);
	return NETDEV_TX_OK;
}
static const struct net_device_ops ops = { .ndo_open = op, .ndo_stop = stop, .ndo_start_xmit = xmit };
static int __init m_init(void)
{
	struct port *p;
	int err;

	dev = alloc_etherdev(sizeof(*p));
	if (!dev)
		return -ENOMEM;
	p = netdev_priv(dev);
	timer_setup(&p->tick, tick, 0);
	dev->netdev_ops = &ops;
	eth_hw_addr_random(dev);
	err = register_netdev(dev);
	if (err)
		free_netdev(dev);
	return err;
}
static void __exit m_exit(void) { unregister_netdev(dev); free_netdev(dev); /* BUG */ }
module_init(m_init);
module_exit(m_exit);
