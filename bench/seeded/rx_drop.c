// SPDX-License-Identifier: GPL-2.0
/* kind: leak */
#include "seeded.h"

static atomic_t bad = ATOMIC_INIT(0);
static int rcv(struct sk_buff *skb, struct net_device *d, struct packet_type *pt, struct net_device *orig)
{
	if (skb->len < 4 || (skb->data[0] & 0xf0) != 0x10) {
		atomic_inc(&bad);
#ifdef FIXED
		kfree_skb(skb);
#endif
		return NET_RX_DROP; /* BUG */
	}
	consume_skb(skb);
	return NET_RX_SUCCESS;
}
static struct packet_type pt = { .type = htons(ETH_P_ALL), .func = rcv }; /* BUG */
static int __init m_init(void) { dev_add_pack(&pt); return 0; }
static void __exit m_exit(void) { dev_remove_pack(&pt); }
module_init(m_init);
module_exit(m_exit);
