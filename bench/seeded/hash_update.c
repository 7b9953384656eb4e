// SPDX-License-Identifier: GPL-2.0
/* kind: out of bounds */
#include "seeded.h"

struct ctx { u32 have; u8 buf[16]; u64 sum; };
static void mix(struct ctx *c) { int i; for (i = 0; i < 16; i++) c->sum = c->sum * 31 + c->buf[i]; }
static int init(struct shash_desc *d) { memset(shash_desc_ctx(d), 0, sizeof(struct ctx)); return 0; }
static int update(struct shash_desc *d, const u8 *p, unsigned int n)
{
	struct ctx *c = shash_desc_ctx(d);
#ifdef FIXED
	while (n) {
		unsigned int k = min(n, 16 - c->have);
		memcpy(c->buf + c->have, p, k);
		c->have += k; p += k; n -= k;
		if (c->have == 16) {
			mix(c);
			c->have = 0;
		}
	}
#else
	memcpy(c->buf + c->have, p, n); /* BUG */
	c->have += n;
	if (c->have >= 16) {
		mix(c);
		c->have = 0;
	}
#endif
	return 0;
}
static int final(struct shash_desc *d, u8 *out)
{
	struct ctx *c = shash_desc_ctx(d);
	put_unaligned_le64(c->sum + c->have, out);
	return 0;
}
static struct shash_alg alg = {
	.digestsize = 8, .init = init, .update = update, .final = final, .descsize = sizeof(struct ctx),
	.base = { .cra_name = "seeded-up", .cra_driver_name = "seeded-up", .cra_blocksize = 16, .cra_module = THIS_MODULE },
};
static int __init m_init(void) { return crypto_register_shash(&alg); }
static void __exit m_exit(void) { crypto_unregister_shash(&alg); }
module_init(m_init);
module_exit(m_exit);
