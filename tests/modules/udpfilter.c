// SPDX-License-Identifier: GPL-2.0
/* A netfilter hook: drops UDP packets to one port, counts the others. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt
#include <linux/ip.h>
#include <linux/module.h>
#include <linux/netfilter.h>
#include <linux/netfilter_ipv4.h>
#include <linux/udp.h>
#include <net/net_namespace.h>

static ushort port = 9999;
module_param(port, ushort, 0644);

static int passed;
module_param(passed, int, 0444);

static int dropped;
module_param(dropped, int, 0444);

static unsigned int udpfilter_hook(void *priv, struct sk_buff *skb, const struct nf_hook_state *state)
{
	const struct iphdr *ip = ip_hdr(skb);
	const struct udphdr *udp;

	if (ip->protocol != IPPROTO_UDP)
		return NF_ACCEPT;
	udp = (const struct udphdr *)((const u8 *)ip + ip->ihl * 4);
	if (ntohs(udp->dest) == port) {
		dropped++;
		pr_info("dropped %d bytes to port %d\n", ntohs(udp->len) - 8, port);
		return NF_DROP;
	}
	passed++;
	return NF_ACCEPT;
}

static const struct nf_hook_ops udpfilter_ops = {
	.hook = udpfilter_hook,
	.pf = NFPROTO_IPV4,
	.hooknum = NF_INET_LOCAL_IN,
	.priority = NF_IP_PRI_FIRST,
};

static int __init udpfilter_init(void)
{
	return nf_register_net_hook(&init_net, &udpfilter_ops);
}

static void __exit udpfilter_exit(void)
{
	nf_unregister_net_hook(&init_net, &udpfilter_ops);
}

module_init(udpfilter_init);
module_exit(udpfilter_exit);
MODULE_LICENSE("GPL");
