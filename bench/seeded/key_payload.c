// SPDX-License-Identifier: GPL-2.0
/* kind: out of bounds */
#include "seeded.h"
#include <linux/key-type.h>
#include <linux/key.h>

struct cred16 { u8 data[16]; u32 len; };
static int inst(struct key *k, struct key_preparsed_payload *p)
{
	struct cred16 *c;
#ifdef FIXED
	if (p->datalen > sizeof(c->data))
		return -EINVAL;
#endif
	c = kzalloc(sizeof(*c), GFP_KERNEL);
	if (!c)
		return -ENOMEM;
	memcpy(c->data, p->data, p->datalen); /* BUG */
	c->len = p->datalen;
	rcu_assign_keypointer(k, c);
	return 0;
}
static void destroy(struct key *k) { kfree(k->payload.data[0]); }
static struct key_type kt = { .name = "seeded16", .instantiate = inst, .destroy = destroy };
static int __init m_init(void) { return register_key_type(&kt); }
static void __exit m_exit(void) { unregister_key_type(&kt); }
module_init(m_init);
module_exit(m_exit);
