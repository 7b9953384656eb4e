// SPDX-License-Identifier: GPL-2.0
/* kind: out of bounds */
#include "seeded.h"

struct cx { u8 key[16]; u32 len; };
static int c_setkey(struct crypto_tfm *t, const u8 *k, unsigned int n)
{
	struct cx *c = crypto_tfm_ctx(t);
#ifndef FIXED
	memcpy(c->key, k, n); /* BUG */
#else
	if (n != 16) return -EINVAL;
	memcpy(c->key, k, 16);
#endif
	c->len = n;
	return 0;
}
static void c_enc(struct crypto_tfm *t, u8 *d, const u8 *s) { struct cx *c = crypto_tfm_ctx(t); int i; for (i = 0; i < 16; i++) d[i] = s[i] ^ c->key[i]; }
static struct crypto_alg alg = {
	.cra_name = "xork", .cra_driver_name = "xork-generic", .cra_flags = CRYPTO_ALG_TYPE_CIPHER, .cra_blocksize = 16,
	.cra_ctxsize = sizeof(struct cx), .cra_module = THIS_MODULE,
	.cra_u = { .cipher = { .cia_min_keysize = 16, .cia_max_keysize = 64, .cia_setkey = c_setkey, .cia_encrypt = c_enc, .cia_decrypt = c_enc } },
};
static int __init m_init(void) { return crypto_register_alg(&alg); }
static void __exit m_exit(void) { crypto_unregister_alg(&alg); }
module_init(m_init); module_exit(m_exit);
