// SPDX-License-Identifier: GPL-2.0
/* kind: out of bounds */
#include "seeded.h"
#include <linux/netfilter.h>
#include <linux/netfilter_ipv4.h>

static u32 odd;
static unsigned int hook(void *priv, struct sk_buff *skb, const struct nf_hook_state *st)
{
	struct iphdr *ip = ip_hdr(skb);
	u8 *opt = (u8 *)(ip + 1);
	int left = ip->ihl * 4 - sizeof(*ip);

#ifdef FIXED
	if (left < 4)
		return NF_ACCEPT;
#endif
	if (ip->protocol == IPPROTO_UDP && skb_headlen(skb) < 4096 && get_unaligned((u32 *)(opt + 96 + left)) == 7) /* BUG */
		WRITE_ONCE(odd, odd + 1);
	return NF_ACCEPT;
}
static const struct nf_hook_ops ops = { .hook = hook, .pf = NFPROTO_IPV4, .hooknum = NF_INET_LOCAL_OUT, .priority = NF_IP_PRI_FIRST };
static int __init m_init(void) { return nf_register_net_hook(&init_net, &ops); }
static void __exit m_exit(void) { nf_unregister_net_hook(&init_net, &ops); }
module_init(m_init);
module_exit(m_exit);
