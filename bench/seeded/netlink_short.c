// SPDX-License-Identifier: GPL-2.0
/* kind: out of bounds */
#include "seeded.h"

struct msg { u32 cmd; u32 arg[12]; };
static struct sock *sk;
static u32 total;
static void in(struct sk_buff *skb)
{
	struct nlmsghdr *h = nlmsg_hdr(skb);
	struct msg *q;
	if (skb->len < NLMSG_HDRLEN || h->nlmsg_len > skb->len)
		return;
#ifdef FIXED
	if (nlmsg_len(h) < (int)sizeof(*q))
		return;
#endif
	q = nlmsg_data(h);
	total += q->arg[11]; /* BUG */
}
static int __init m_init(void)
{
	struct netlink_kernel_cfg c = { .input = in };
	sk = netlink_kernel_create(&init_net, 31, &c);
	return sk ? 0 : -ENOMEM;
}
static void __exit m_exit(void) { netlink_kernel_release(sk); }
module_init(m_init); module_exit(m_exit);
