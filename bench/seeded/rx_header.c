// SPDX-License-Identifier: GPL-2.0
/* kind: out of bounds */
#include "seeded.h"

struct thdr { __be16 op; __be16 len; __be32 cookie[12]; };
static u32 seen;
static int rcv(struct sk_buff *skb, struct net_device *d, struct packet_type *pt, struct net_device *orig)
{
	struct thdr *h;

#ifdef FIXED
	if (!pskb_may_pull(skb, sizeof(*h)))
		goto drop;
#endif
	h = (struct thdr *)skb->data;
	WRITE_ONCE(seen, be32_to_cpu(h->cookie[11])); /* BUG */
#ifdef FIXED
drop:
#endif
	kfree_skb(skb);
	return NET_RX_SUCCESS;
}
static struct packet_type pt = { .type = htons(0x88b5), .func = rcv };
static int __init m_init(void) { dev_add_pack(&pt); return 0; }
static void __exit m_exit(void) { dev_remove_pack(&pt); pr_debug("%u\n", seen); }
module_init(m_init);
module_exit(m_exit);
