// SPDX-License-Identifier: GPL-2.0
/*
 * skeleton: objects of one size from a cache of their own, with a reserve.
 *
 * kmem_cache packs objects of one kind tightly and shows them in
 * /proc/slabinfo. mempool keeps some back, so that `count` objects can always
 * be had, even when memory is short.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/list.h>
#include <linux/mempool.h>
#include <linux/module.h>
#include <linux/slab.h>

#define SKELETON_RESERVE 8

static unsigned int count = 100;
module_param(count, uint, 0444);
MODULE_PARM_DESC(count, "how many objects to take while loaded");

struct object {
	struct list_head list;
	u32 number;
	char payload[100];
};

static LIST_HEAD(objects);
static struct kmem_cache *cache;
static mempool_t *pool;

static void give_back(void)
{
	struct object *at, *next;

	list_for_each_entry_safe(at, next, &objects, list) {
		list_del(&at->list);
		mempool_free(at, pool);
	}
}

static int __init take(void)
{
	struct object *new;
	u32 i;

	for (i = 0; i < count; i++) {
		/* GFP_KERNEL may sleep; in an interrupt it is GFP_ATOMIC. */
		new = mempool_alloc(pool, GFP_KERNEL);
		if (!new)
			return -ENOMEM;
		/* Memory comes as it was left. */
		memset(new, 0, sizeof(*new));
		new->number = i;
		list_add_tail(&new->list, &objects);
	}
	return 0;
}

static int __init skeleton_init(void)
{
	int err = -ENOMEM;

	cache = kmem_cache_create("skeleton", sizeof(struct object), 0,
				  SLAB_HWCACHE_ALIGN, NULL);
	if (!cache)
		return -ENOMEM;
	pool = mempool_create_slab_pool(SKELETON_RESERVE, cache);
	if (!pool)
		goto no_pool;
	err = take();
	if (err)
		goto no_objects;
	pr_info("%u objects of %zu bytes\n", count, sizeof(struct object));
	return 0;

no_objects:
	give_back();
	mempool_destroy(pool);
no_pool:
	kmem_cache_destroy(cache);
	return err;
}

static void __exit skeleton_exit(void)
{
	u64 sum = 0;
	struct object *at;

	list_for_each_entry(at, &objects, list)
		sum += at->number;
	pr_info("the numbers add up to %llu\n", sum);
	give_back();
	/* Complains, with a stack trace, about objects that were forgotten. */
	mempool_destroy(pool);
	kmem_cache_destroy(cache);
}

module_init(skeleton_init);
module_exit(skeleton_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Objects from a slab cache and a memory pool");
