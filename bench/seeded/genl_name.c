// SPDX-License-Identifier: GPL-2.0
/* kind: out of bounds */
#include "seeded.h"
#include <net/genetlink.h>

enum { B_UNSPEC, B_NAME, B_MAX_ = B_NAME };
static const struct nla_policy pol[B_MAX_ + 1] = {
#ifdef FIXED
	[B_NAME] = { .type = NLA_NUL_STRING, .len = 15 },
#else
	[B_NAME] = { .type = NLA_NUL_STRING, .len = 63 },
#endif
};
struct peer { char name[16]; };
static struct peer *peer;
static int set(struct sk_buff *skb, struct genl_info *info)
{
	if (!info->attrs[B_NAME])
		return -EINVAL;
	strcpy(peer->name, nla_data(info->attrs[B_NAME])); /* BUG */
	return 0;
}
static const struct genl_small_ops ops[] = { { .cmd = 1, .doit = set } };
static struct genl_family fam = {
	.name = "seeded_name", .version = 1, .maxattr = B_MAX_, .policy = pol, .module = THIS_MODULE,
	.small_ops = ops, .n_small_ops = 1,
};
static int __init m_init(void)
{
	int err;
	peer = kzalloc(sizeof(*peer), GFP_KERNEL);
	if (!peer)
		return -ENOMEM;
	err = genl_register_family(&fam);
	if (err)
		kfree(peer);
	return err;
}
static void __exit m_exit(void) { genl_unregister_family(&fam); kfree(peer); }
module_init(m_init);
module_exit(m_exit);
