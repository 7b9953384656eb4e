// SPDX-License-Identifier: GPL-2.0
/*
 * skeleton: a hash for the kernel's crypto API, and so for AF_ALG sockets.
 *
 * FNV-1a with 64 bits: a few lines, and good enough for a hash table. It is
 * no cryptographic hash; what matters here is how one is plugged in.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <crypto/internal/hash.h>
#include <linux/module.h>
#include <linux/string.h>
#include <linux/types.h>

#define SKELETON_DIGEST 8
#define FNV_START 0xcbf29ce484222325ULL
#define FNV_PRIME 0x00000100000001b3ULL

/* One calculation under way; the crypto API allocates descsize bytes for it. */
struct skeleton_state {
	u64 hash;
};

static int skeleton_start(struct shash_desc *desc)
{
	struct skeleton_state *state = shash_desc_ctx(desc);

	state->hash = FNV_START;
	return 0;
}

static int skeleton_update(struct shash_desc *desc, const u8 *data,
			   unsigned int len)
{
	struct skeleton_state *state = shash_desc_ctx(desc);

	while (len--) {
		state->hash ^= *data++;
		state->hash *= FNV_PRIME;
	}
	return 0;
}

static int skeleton_final(struct shash_desc *desc, u8 *out)
{
	struct skeleton_state *state = shash_desc_ctx(desc);
	/* A digest is bytes, so it has to be said which comes first. */
	__be64 digest = cpu_to_be64(state->hash);

	/* The caller's buffer may lie at any address. */
	memcpy(out, &digest, sizeof(digest));
	return 0;
}

static struct shash_alg skeleton_alg = {
	.digestsize = SKELETON_DIGEST,
	.init = skeleton_start,
	.update = skeleton_update,
	.final = skeleton_final,
	.descsize = sizeof(struct skeleton_state),
	.base = {
		.cra_name = "skeleton",			/* the algorithm */
		.cra_driver_name = "skeleton-generic",	/* this code for it */
		.cra_priority = 100,	/* faster code would have more */
		.cra_blocksize = 1,
		.cra_module = THIS_MODULE,
	},
};

/* The hash of "a", from the paper: a wrong result is worse than none. */
static int skeleton_self_test(void)
{
	static const u8 want[] = { 0xaf, 0x63, 0xdc, 0x4c, 0x86, 0x01, 0xec, 0x8c };
	struct crypto_shash *tfm;
	u8 got[SKELETON_DIGEST];
	int err;

	tfm = crypto_alloc_shash("skeleton", 0, 0);
	if (IS_ERR(tfm))
		return PTR_ERR(tfm);
	err = crypto_shash_tfm_digest(tfm, "a", 1, got);
	if (!err && memcmp(got, want, sizeof(want)))
		err = -EBADMSG;
	crypto_free_shash(tfm);
	return err;
}

static int __init skeleton_init(void)
{
	int err;

	err = crypto_register_shash(&skeleton_alg);
	if (err)
		return err;
	err = skeleton_self_test();
	if (err) {
		crypto_unregister_shash(&skeleton_alg);
		return err;
	}
	pr_info("self-test passed\n");
	return 0;
}

static void __exit skeleton_exit(void)
{
	crypto_unregister_shash(&skeleton_alg);
}

module_init(skeleton_init);
module_exit(skeleton_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A hash for the crypto API");
MODULE_ALIAS_CRYPTO("skeleton");
