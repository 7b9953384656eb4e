// SPDX-License-Identifier: GPL-2.0
/* kind: wild access */
#include "seeded.h"
#include <net/genetlink.h>

enum { A_UNSPEC, A_ID, A_NAME, A_MAX_ = A_NAME };
static const struct nla_policy pol[A_MAX_ + 1] = {
	[A_ID] = { .type = NLA_U32 },
	[A_NAME] = { .type = NLA_NUL_STRING, .len = 15 },
};
static u32 last;
static int set(struct sk_buff *skb, struct genl_info *info)
{
#ifdef FIXED
	if (!info->attrs[A_ID])
		return -EINVAL;
#endif
	WRITE_ONCE(last, nla_get_u32(info->attrs[A_ID])); /* BUG */
	return 0;
}
static const struct genl_small_ops ops[] = { { .cmd = 1, .doit = set } };
static struct genl_family fam = {
	.name = "seeded_attr", .version = 1, .maxattr = A_MAX_, .policy = pol, .module = THIS_MODULE,
	.small_ops = ops, .n_small_ops = 1,
};
static int __init m_init(void) { return genl_register_family(&fam); }
static void __exit m_exit(void) { genl_unregister_family(&fam); }
module_init(m_init);
module_exit(m_exit);
