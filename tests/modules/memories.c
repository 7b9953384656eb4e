// SPDX-License-Identifier: GPL-2.0
/* Every usual way to get memory: each is filled, checked and given back. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt
#include <linux/mempool.h>
#include <linux/module.h>
#include <linux/percpu.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

struct memories_object {
	u64 number;
	char text[100];
};

static DEFINE_PER_CPU(int, memories_static);

static bool filled(void *at, size_t size)
{
	if (!at)
		return false;
	memset(at, 0x5A, size);
	return !memchr_inv(at, 0x5A, size);
}

static int __init memories_init(void)
{
	struct kmem_cache *cache;
	mempool_t *pool;
	int __percpu *counters;
	void *small, *large, *area, *object, *element;

	small = kmalloc(100, GFP_KERNEL);
	pr_info("kmalloc %s\n", filled(small, 100) ? "good" : "bad");
	small = krealloc(small, 5000, GFP_KERNEL);
	pr_info("krealloc %s\n", small && !memchr_inv(small, 0x5A, 100) ? "good" : "bad");
	kfree(small);
	large = kzalloc(1 << 20, GFP_KERNEL);
	pr_info("kzalloc %s\n", large && !memchr_inv(large, 0, 1 << 20) ? "good" : "bad");
	kfree(large);
	area = vmalloc(3 << 20);
	pr_info("vmalloc %s\n", filled(area, 3 << 20) ? "good" : "bad");
	vfree(area);

	cache = kmem_cache_create("memories", sizeof(struct memories_object), 0, SLAB_HWCACHE_ALIGN, NULL);
	if (!cache)
		return -ENOMEM;
	object = kmem_cache_alloc(cache, GFP_KERNEL);
	pr_info("kmem_cache %s\n", filled(object, sizeof(struct memories_object)) ? "good" : "bad");
	kmem_cache_free(cache, object);

	pool = mempool_create_slab_pool(4, cache);
	element = pool ? mempool_alloc(pool, GFP_KERNEL) : NULL;
	pr_info("mempool %s\n", filled(element, sizeof(struct memories_object)) ? "good" : "bad");
	if (element)
		mempool_free(element, pool);
	mempool_destroy(pool);
	kmem_cache_destroy(cache);

	counters = alloc_percpu(int);
	if (!counters)
		return -ENOMEM;
	this_cpu_add(*counters, 5);
	this_cpu_add(memories_static, 6);
	pr_info("percpu %s\n",
		*per_cpu_ptr(counters, raw_smp_processor_id()) == 5 && this_cpu_read(memories_static) == 6 ? "good" : "bad");
	free_percpu(counters);
	return 0;
}

static void __exit memories_exit(void)
{
}

module_init(memories_init);
module_exit(memories_exit);
MODULE_LICENSE("GPL");
