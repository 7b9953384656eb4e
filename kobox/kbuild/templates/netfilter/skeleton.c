// SPDX-License-Identifier: GPL-2.0
/*
 * skeleton: a netfilter hook that counts UDP packets, and drops those to a
 * port of your choice.
 *
 * Load it, and watch /sys/module/skeleton/parameters/seen and dropped; the
 * port can be changed at any time.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/atomic.h>
#include <linux/ip.h>
#include <linux/module.h>
#include <linux/netfilter.h>
#include <linux/netfilter_ipv4.h>
#include <linux/skbuff.h>
#include <linux/udp.h>
#include <net/ip.h>
#include <net/net_namespace.h>

static ushort port;
module_param(port, ushort, 0644);
MODULE_PARM_DESC(port, "drop UDP packets to this port (0: none)");

/* Packets arrive on all CPUs at once: plain counters would lose some. */
static atomic_t seen = ATOMIC_INIT(0);
static atomic_t dropped = ATOMIC_INIT(0);

static int counter_get(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%d\n", atomic_read((atomic_t *)kp->arg));
}

static const struct kernel_param_ops counter_ops = {
	.get = counter_get,
};
module_param_cb(seen, &counter_ops, &seen, 0444);
MODULE_PARM_DESC(seen, "UDP packets that came in");
module_param_cb(dropped, &counter_ops, &dropped, 0444);
MODULE_PARM_DESC(dropped, "UDP packets that were dropped");

/* Runs in softirq context: it must not sleep. */
static unsigned int skeleton_hook(void *priv, struct sk_buff *skb,
				  const struct nf_hook_state *state)
{
	const struct iphdr *ip = ip_hdr(skb);
	struct udphdr space;
	const struct udphdr *udp;

	/* Only the first fragment has a UDP header. */
	if (ip->protocol != IPPROTO_UDP || ip->frag_off & htons(IP_OFFSET))
		return NF_ACCEPT;
	/* The header may lie anywhere in the packet: never just cast. */
	udp = skb_header_pointer(skb, ip_hdrlen(skb), sizeof(space), &space);
	if (!udp)
		return NF_ACCEPT;
	atomic_inc(&seen);
	if (!port || udp->dest != htons(READ_ONCE(port)))
		return NF_ACCEPT;
	atomic_inc(&dropped);
	return NF_DROP;
}

static const struct nf_hook_ops skeleton_ops = {
	.hook = skeleton_hook,
	.pf = NFPROTO_IPV4,
	.hooknum = NF_INET_LOCAL_IN,
	.priority = NF_IP_PRI_FILTER,
};

/* Called for each network namespace, those that come later as well. */
static int __net_init skeleton_net_init(struct net *net)
{
	return nf_register_net_hook(net, &skeleton_ops);
}

static void __net_exit skeleton_net_exit(struct net *net)
{
	nf_unregister_net_hook(net, &skeleton_ops);
}

static struct pernet_operations skeleton_net_ops = {
	.init = skeleton_net_init,
	.exit = skeleton_net_exit,
};

static int __init skeleton_init(void)
{
	return register_pernet_subsys(&skeleton_net_ops);
}

static void __exit skeleton_exit(void)
{
	unregister_pernet_subsys(&skeleton_net_ops);
	pr_info("%d seen, %d dropped\n", atomic_read(&seen),
		atomic_read(&dropped));
}

module_init(skeleton_init);
module_exit(skeleton_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Counts UDP packets and drops those to one port");
