#include <linux/ip.h>
#include <linux/module.h>
#include <linux/netfilter.h>
#include <linux/netfilter_ipv4.h>
#include <linux/skbuff.h>
#include <net/net_namespace.h>

static int dropped;
module_param(dropped, int, 0444);

static unsigned int deaf_hook(void *unused, struct sk_buff *skb, const struct nf_hook_state *state)
{
	if (ip_hdr(skb)->protocol != IPPROTO_ICMP)
		return NF_ACCEPT;
	dropped++;
	return NF_DROP;
}

static const struct nf_hook_ops deaf_ops = {
	.hook = deaf_hook,
	.pf = NFPROTO_IPV4,
	.hooknum = NF_INET_LOCAL_IN,
	.priority = NF_IP_PRI_FILTER,
};

static int __init deaf_init(void)
{
	return nf_register_net_hook(&init_net, &deaf_ops);
}

static void __exit deaf_exit(void)
{
	nf_unregister_net_hook(&init_net, &deaf_ops);
}

module_init(deaf_init);
module_exit(deaf_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Does not hear pings");
