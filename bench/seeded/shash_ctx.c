// SPDX-License-Identifier: GPL-2.0
/* kind: out of bounds */
#include "seeded.h"

struct st { u32 sum; u8 block[64]; u32 fill; };
static int s_init(struct shash_desc *d) { struct st *s = shash_desc_ctx(d); s->sum = 0; s->fill = 0; return 0; } /* BUG */
static int s_update(struct shash_desc *d, const u8 *p, unsigned int n)
{
	struct st *s = shash_desc_ctx(d);
	while (n--) {
		s->block[s->fill++ & 63] = *p;
		s->sum += *p++;
	}
	return 0;
}
static int s_final(struct shash_desc *d, u8 *out) { struct st *s = shash_desc_ctx(d); put_unaligned_le32(s->sum, out); return 0; }
static struct shash_alg alg = {
	.digestsize = 4, .init = s_init, .update = s_update, .final = s_final,
#ifndef FIXED
	.descsize = sizeof(struct st *),
#else
	.descsize = sizeof(struct st),
#endif
	.base = { .cra_name = "sumk", .cra_driver_name = "sumk-generic", .cra_blocksize = 1, .cra_module = THIS_MODULE },
};
static int __init m_init(void) { return crypto_register_shash(&alg); }
static void __exit m_exit(void) { crypto_unregister_shash(&alg); }
module_init(m_init); module_exit(m_exit);
