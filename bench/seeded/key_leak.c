// SPDX-License-Identifier: GPL-2.0
/* kind: leak */
#include "seeded.h"
#include <linux/key-type.h>
#include <linux/key.h>

static int inst(struct key *k, struct key_preparsed_payload *p)
{
	void *c;
	if (!p->datalen)
		return -EINVAL;
	c = kmemdup(p->data, p->datalen, GFP_KERNEL); /* BUG */
	if (!c)
		return -ENOMEM;
	rcu_assign_keypointer(k, c);
	return 0;
}
static void destroy(struct key *k)
{
#ifdef FIXED
	kfree(k->payload.data[0]);
#endif
}
static struct key_type kt = { .name = "seededdup", .instantiate = inst, .destroy = destroy };
static int __init m_init(void) { return register_key_type(&kt); }
static void __exit m_exit(void) { unregister_key_type(&kt); }
module_init(m_init);
module_exit(m_exit);
