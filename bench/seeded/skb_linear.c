// SPDX-License-Identifier: GPL-2.0
/* kind: out of bounds */
#include "seeded.h"

static rx_handler_result_t rx(struct sk_buff **pskb) { return RX_HANDLER_PASS; }
static unsigned int seen;
static int pt(struct sk_buff *skb, struct net_device *d, struct packet_type *p, struct net_device *o)
{
	struct { __be32 magic; u8 more[60]; __be32 last; } *h;
	skb = skb_share_check(skb, GFP_ATOMIC);
	if (!skb)
		return 0;
	if (skb->len < sizeof(*h))
		goto out;
#ifdef FIXED
	if (!pskb_may_pull(skb, sizeof(*h)))
		goto out;
#endif
	h = (void *)skb->data;
	if (h->last) /* BUG */
		seen++;
out:
	kfree_skb(skb);
	return 0;
}
static struct packet_type ptype __read_mostly = { .type = cpu_to_be16(ETH_P_ALL), .func = pt };
static netdev_tx_t tx(struct sk_buff *skb, struct net_device *d) { dev_kfree_skb(skb); return NETDEV_TX_OK; }
static const struct net_device_ops ops = { .ndo_start_xmit = tx };
static int __init m_init(void) { (void)rx; (void)ops; dev_add_pack(&ptype); return 0; }
static void __exit m_exit(void) { dev_remove_pack(&ptype); }
module_init(m_init); module_exit(m_exit);
