// SPDX-License-Identifier: GPL-2.0
/*
 * Each way to get memory wrong, and beside it the same thing right (right=1): `what` names the case, a function here that a
 * read of /proc/memory_faults runs, or, with fail=1, an init that fails. Comments at the ends of lines name the places that
 * a finding must name: "bad" is where it goes wrong, "made" and "freed" where the object comes from and goes to.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt
#include <linux/err.h>
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/proc_fs.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/timekeeping.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

static char *what = "";
module_param(what, charp, 0);
static char *how = "";
module_param(how, charp, 0);
static bool right;
module_param(right, bool, 0);
static bool fail;
module_param(fail, bool, 0);

/* 1 when the case is to go wrong; the compiler must not know. */
static volatile int wrong;
static volatile long sink;

#define HIDE(p) ({ typeof(p) hidden = (p); OPTIMIZER_HIDE_VAR(hidden); hidden; })
#define ARGS char __user *user, size_t room
#define CASE(name) static noinline long name(ARGS)
/* Touch the first byte outside, or the last inside. */
#define EDGES(p, size)                                                                        \
	do {                                                                                  \
		volatile char *at = (volatile char *)(p);                                     \
		if (!strcmp(how, "read-right"))                                               \
			sink = at[(size) - 1 + wrong];                                        \
		else if (!strcmp(how, "write-right"))                                         \
			at[(size) - 1 + wrong] = 1;                                           \
		else if (!strcmp(how, "read-left"))                                           \
			sink = at[-wrong];                                                    \
		else if (!strcmp(how, "write-left"))                                          \
			at[-wrong] = 1;                                                       \
	} while (0)

/* ---- edges of each kind of memory ------------------------------------------------------------------------------- */
CASE(edge_kmalloc)
{
	char *p = HIDE(kmalloc(64, GFP_KERNEL)); /* edge_kmalloc: made */

	EDGES(p, 64); /* edge_kmalloc: bad */
	kfree(p);
	return 0;
}

CASE(edge_kmalloc_odd)
{
	char *p = HIDE(kmalloc(51, GFP_KERNEL)); /* edge_kmalloc_odd: made */

	EDGES(p, 51); /* edge_kmalloc_odd: bad */
	kfree(p);
	return 0;
}

CASE(edge_kmalloc_variable)
{
	char *p = HIDE(kmalloc(room + 37, GFP_KERNEL)); /* edge_kmalloc_variable: made */

	EDGES(p, room + 37); /* edge_kmalloc_variable: bad */
	kfree(p);
	return 0;
}

CASE(edge_kmalloc_atomic)
{
	char *p = HIDE(kmalloc(200, GFP_ATOMIC)); /* edge_kmalloc_atomic: made */

	EDGES(p, 200); /* edge_kmalloc_atomic: bad */
	kfree(p);
	return 0;
}

CASE(edge_kzalloc)
{
	char *p = HIDE(kzalloc(100, GFP_KERNEL)); /* edge_kzalloc: made */

	EDGES(p, 100); /* edge_kzalloc: bad */
	kfree(p);
	return 0;
}

CASE(edge_kcalloc)
{
	char *p = HIDE(kcalloc(5, 3, GFP_KERNEL)); /* edge_kcalloc: made */

	EDGES(p, 15); /* edge_kcalloc: bad */
	kfree(p);
	return 0;
}

CASE(edge_kmalloc_page)
{
	char *p = HIDE(kmalloc(4096, GFP_KERNEL)); /* edge_kmalloc_page: made */

	EDGES(p, 4096); /* edge_kmalloc_page: bad */
	kfree(p);
	return 0;
}

CASE(edge_kmalloc_large)
{
	char *p = HIDE(kmalloc(9000, GFP_KERNEL)); /* edge_kmalloc_large: made */

	EDGES(p, 9000); /* edge_kmalloc_large: bad */
	kfree(p);
	return 0;
}

CASE(edge_kmemdup)
{
	char *p = HIDE(kmemdup("twenty bytes of text", 20, GFP_KERNEL)); /* edge_kmemdup: made */

	if (p[19] != 't')
		return -EIO;
	EDGES(p, 20); /* edge_kmemdup: bad */
	kfree(p);
	return 0;
}

CASE(edge_krealloc_grow)
{
	char *p = kmalloc(40, GFP_KERNEL);

	memset(p, 7, 40);
	p = HIDE(krealloc(p, 300, GFP_KERNEL)); /* edge_krealloc_grow: made */
	if (p[0] != 7 || p[39] != 7)
		return -EIO;
	EDGES(p, 300); /* edge_krealloc_grow: bad */
	kfree(p);
	return 0;
}

CASE(edge_krealloc_shrink)
{
	char *p = kmalloc(300, GFP_KERNEL); /* edge_krealloc_shrink: made */

	memset(p, 7, 300);
	p = HIDE(krealloc(p, 40, GFP_KERNEL));
	if (p[0] != 7 || p[39] != 7)
		return -EIO;
	EDGES(p, 40); /* edge_krealloc_shrink: bad */
	kfree(p);
	return 0;
}

struct record {
	char text[44];
	int number;
};

CASE(edge_cache)
{
	struct kmem_cache *cache = KMEM_CACHE(record, 0);
	char *p = HIDE(kmem_cache_alloc(cache, GFP_KERNEL)); /* edge_cache: made */

	EDGES(p, sizeof(struct record)); /* edge_cache: bad */
	kmem_cache_free(cache, p);
	kmem_cache_destroy(cache);
	return 0;
}

static void construct(void *p)
{
	memset(p, 5, sizeof(struct record));
}

CASE(edge_cache_ctor)
{
	struct kmem_cache *cache = kmem_cache_create("record_ctor", sizeof(struct record), 0, 0, construct);
	char *p = HIDE(kmem_cache_alloc(cache, GFP_KERNEL)); /* edge_cache_ctor: made */

	if (p[0] != 5 || p[sizeof(struct record) - 1] != 5)
		return -EIO;
	EDGES(p, sizeof(struct record)); /* edge_cache_ctor: bad */
	kmem_cache_free(cache, p);
	kmem_cache_destroy(cache);
	return 0;
}

CASE(edge_vmalloc)
{
	char *p = HIDE(vmalloc(5000)); /* edge_vmalloc: made */

	EDGES(p, 5000); /* edge_vmalloc: bad */
	vfree(p);
	return 0;
}

CASE(edge_vmalloc_pages)
{
	char *p = HIDE(vzalloc(8192)); /* edge_vmalloc_pages: made */

	EDGES(p, 8192); /* edge_vmalloc_pages: bad */
	vfree(p);
	return 0;
}

CASE(edge_kvmalloc)
{
	char *p = HIDE(kvmalloc(600, GFP_KERNEL)); /* edge_kvmalloc: made */

	EDGES(p, 600); /* edge_kvmalloc: bad */
	kvfree(p);
	return 0;
}

CASE(edge_kvmalloc_large)
{
	char *p = HIDE(kvmalloc(8 << 20, GFP_KERNEL)); /* edge_kvmalloc_large: made */

	EDGES(p, 8 << 20); /* edge_kvmalloc_large: bad */
	kvfree(p);
	return 0;
}

CASE(edge_pages)
{
	struct page *page = alloc_page(GFP_KERNEL); /* edge_pages: made */

	EDGES(HIDE(page_address(page)), PAGE_SIZE); /* edge_pages: bad */
	__free_page(page);
	return 0;
}

CASE(edge_pages_order)
{
	struct page *page = alloc_pages(GFP_KERNEL, 2); /* edge_pages_order: made */

	EDGES(HIDE(page_address(page)), 4 * PAGE_SIZE); /* edge_pages_order: bad */
	__free_pages(page, 2);
	return 0;
}

CASE(edge_pages_compound)
{
	struct page *page = alloc_pages(GFP_KERNEL | __GFP_COMP, 1); /* edge_pages_compound: made */

	if (compound_order(page) != 1)
		return -EIO;
	EDGES(HIDE(page_address(page)), 2 * PAGE_SIZE); /* edge_pages_compound: bad */
	__free_pages(page, 1);
	return 0;
}

CASE(edge_free_page)
{
	char *p = HIDE((char *)__get_free_page(GFP_KERNEL)); /* edge_free_page: made */

	EDGES(p, PAGE_SIZE); /* edge_free_page: bad */
	free_page((long)p);
	return 0;
}

CASE(edge_zeroed_page)
{
	char *p = HIDE((char *)get_zeroed_page(GFP_KERNEL)); /* edge_zeroed_page: made */

	if (memchr_inv(p, 0, PAGE_SIZE))
		return -EIO;
	EDGES(p, PAGE_SIZE); /* edge_zeroed_page: bad */
	free_page((long)p);
	return 0;
}

CASE(edge_pages_exact)
{
	char *p = HIDE((char *)alloc_pages_exact(3 * PAGE_SIZE, GFP_KERNEL | __GFP_ZERO)); /* edge_pages_exact: made */

	if (memchr_inv(p, 0, 3 * PAGE_SIZE))
		return -EIO;
	EDGES(p, 3 * PAGE_SIZE); /* edge_pages_exact: bad */
	free_pages_exact(p, 3 * PAGE_SIZE);
	return 0;
}

CASE(edge_percpu)
{
	char __percpu *each = __alloc_percpu(24, 8); /* edge_percpu: made */
	char *p = HIDE(per_cpu_ptr(each, 0));

	if (memchr_inv(p, 0, 24))
		return -EIO;
	EDGES(p, 24); /* edge_percpu: bad */
	free_percpu(each);
	return 0;
}

struct counters {
	u64 packets, bytes, errors;
};

/* ---- edges of variables ------------------------------------------------------------------------------------------ */
static int table[5] = { 1, 2, 3, 4, 5 };
static char name[10] = "somebody";
static char empty[13];
static const short primes[7] = { 2, 3, 5, 7, 11, 13, 17 };
module_param_array(table, int, NULL, 0);
module_param_string(name, name, sizeof(name), 0);

CASE(global_index)
{
	return table[4 + wrong] ? 0 : 1; /* global_index: bad */
}

CASE(global_write)
{
	table[4 + wrong] = 7; /* global_write: bad */
	return 0;
}

static DEFINE_PER_CPU(u32[6], per_cpu_table);
static DEFINE_PER_CPU(struct counters, per_cpu_counters);

CASE(global_percpu)
{
	int cpu;

	for_each_possible_cpu(cpu) {
		u64 *counter = &per_cpu_ptr(&per_cpu_counters, cpu)->packets;

		*counter = 0;
		counter[2 + wrong] = 1; /* global_percpu: bad */
	}
	return 0;
}

CASE(global_percpu_this)
{
	this_cpu_inc(per_cpu_table[5 + wrong]); /* global_percpu_this: bad */
	return 0;
}

CASE(global_padding)
{
	((volatile char *)HIDE(&name[0]))[9 + wrong] = 'x'; /* global_padding: bad */
	return 0;
}

CASE(global_bss)
{
	((volatile char *)HIDE(&empty[0]))[12 + wrong] = 'x'; /* global_bss: bad */
	return 0;
}

CASE(global_const)
{
	return primes[6 + wrong] == 99; /* global_const: bad */
}

CASE(global_memset)
{
	memset(HIDE(&name[0]), 0, sizeof(name) + HIDE(wrong)); /* global_memset: bad */
	return 0;
}

struct holder {
	char *text;
	int *numbers;
};

CASE(global_stored)
{
	struct holder *holder = HIDE((struct holder *)kzalloc(sizeof(*holder), GFP_KERNEL));

	holder->text = name;
	barrier();
	holder->text[wrong * 40 + HIDE(9)] = 'x'; /* global_stored: bad */
	kfree(holder);
	return 0;
}

CASE(global_stored_stack)
{
	int numbers[6] = { 1, 2, 3 }, others[6] = { 4, 5, 6 };
	struct holder *holder = HIDE((struct holder *)kzalloc(sizeof(*holder), GFP_KERNEL));
	int sum;

	OPTIMIZER_HIDE_VAR(numbers[3]);
	OPTIMIZER_HIDE_VAR(others[3]);
	WRITE_ONCE(holder->numbers, wrong ? others : numbers);
	WRITE_ONCE(holder->numbers, numbers);
	barrier();
	sum = READ_ONCE(holder->numbers)[HIDE(5) + wrong]; /* global_stored_stack: bad */
	WRITE_ONCE(holder->numbers, others);
	barrier();
	sum += READ_ONCE(holder->numbers)[HIDE(5)];
	kfree(holder);
	return sum == 1;
}

/* ---- through the kernel's functions ------------------------------------------------------------------------------ */
CASE(by_memcpy_to)
{
	char *p = HIDE(kmalloc(30, GFP_KERNEL)); /* by_memcpy_to: made */

	memcpy(p, HIDE(what), HIDE(30 + wrong)); /* by_memcpy_to: bad */
	kfree(p);
	return 0;
}

CASE(by_memcpy_from)
{
	char *p = HIDE(kzalloc(30, GFP_KERNEL)), to[64]; /* by_memcpy_from: made */

	memcpy(HIDE(&to[0]), p, HIDE(30 + wrong)); /* by_memcpy_from: bad */
	kfree(p);
	return 0;
}

CASE(by_memset)
{
	char *p = HIDE(kmalloc(30, GFP_KERNEL)); /* by_memset: made */

	memset(p, 0, HIDE(30 + wrong)); /* by_memset: bad */
	kfree(p);
	return 0;
}

CASE(by_memcmp)
{
	char *p = HIDE(kzalloc(30, GFP_KERNEL)); /* by_memcmp: made */
	char *q = HIDE(kzalloc(60, GFP_KERNEL));

	sink = memcmp(p, q, HIDE(30 + wrong)); /* by_memcmp: bad */
	kfree(q);
	kfree(p);
	return 0;
}

CASE(by_strcpy)
{
	char *p = HIDE(kmalloc(8, GFP_KERNEL)); /* by_strcpy: made */

	strcpy(p, HIDE(wrong ? "12345678" : "1234567")); /* by_strcpy: bad */
	kfree(p);
	return 0;
}

CASE(by_strcat)
{
	char *p = HIDE(kmalloc(8, GFP_KERNEL)); /* by_strcat: made */

	strcpy(p, HIDE((char *)"123"));
	strcat(p, HIDE(wrong ? "45678" : "4567")); /* by_strcat: bad */
	kfree(p);
	return 0;
}

CASE(by_strlen)
{
	char *p = HIDE(kmalloc(8, GFP_KERNEL)); /* by_strlen: made */

	memset(p, 'x', 8);
	if (!wrong)
		p[7] = 0;
	sink = strlen(p); /* by_strlen: bad */
	kfree(p);
	return 0;
}

CASE(by_sprintf)
{
	char *p = HIDE(kmalloc(8, GFP_KERNEL)); /* by_sprintf: made */

	sprintf(p, "%d", wrong ? 12345678 : 1234567); /* by_sprintf: bad */
	kfree(p);
	return 0;
}

CASE(stack_index)
{
	int cells[6] = {};
	long n = 5 + wrong;

	OPTIMIZER_HIDE_VAR(n);
	WRITE_ONCE(cells[n], 1); /* stack_index: bad */
	sink = READ_ONCE(cells[1]);
	return 0;
}

CASE(stack_memset)
{
	char cells[24];

	memset(HIDE((char *)cells), 1, HIDE(24 + wrong)); /* stack_memset: bad */
	sink = READ_ONCE(cells[1]);
	return 0;
}

CASE(by_printk)
{
	char *p = HIDE(kmalloc(8, GFP_KERNEL)); /* by_printk: made */

	memcpy(p, wrong ? "12345678" : "1234567", 8);
	pr_debug("nothing\n");
	pr_info("%d %*d %s %d\n", 1, 2, 3, p, 4); /* by_printk: bad */
	kfree(p);
	return 0;
}

CASE(by_kstrtoint)
{
	char *p = HIDE(kmalloc(3, GFP_KERNEL)); /* by_kstrtoint: made */
	int value = 0;

	memcpy(p, wrong ? "123" : "12", 3);
	sink = kstrtoint(p, 0, &value); /* by_kstrtoint: bad */
	kfree(p);
	return 0;
}

CASE(uaf_print)
{
	char *p = HIDE(kstrdup("a name", GFP_KERNEL)); /* uaf_print: made */

	if (wrong) {
		kfree(p); /* uaf_print: freed */
		pr_info("a b %s %.*s\n", p, 2, p); /* uaf_print: bad */
	} else {
		pr_info("%s %.*s\n", p, 2, p);
		kfree(p);
	}
	return 0;
}

CASE(by_snprintf)
{
	char *p = HIDE(kmalloc(8, GFP_KERNEL)); /* by_snprintf: made */

	snprintf(p, HIDE(8 + wrong), "%d", 1234567890); /* by_snprintf: bad */
	kfree(p);
	return 0;
}

CASE(by_copy_to_user)
{
	char *p = HIDE(kzalloc(30, GFP_KERNEL)); /* by_copy_to_user: made */
	long left = copy_to_user(user, p, HIDE(30 + wrong)); /* by_copy_to_user: bad */

	kfree(p);
	return left;
}

CASE(by_copy_from_user)
{
	char *p = HIDE(kzalloc(30, GFP_KERNEL)); /* by_copy_from_user: made */
	long left = copy_from_user(p, user, HIDE(30 + wrong)); /* by_copy_from_user: bad */

	kfree(p);
	return left;
}

CASE(by_bitops)
{
	unsigned long *p = HIDE(kzalloc(24, GFP_KERNEL)); /* by_bitops: made */

	set_bit(191 + wrong, p); /* by_bitops: bad */
	kfree(p);
	return 0;
}

/* ---- after the end ----------------------------------------------------------------------------------------------- */
CASE(uaf_read)
{
	volatile int *p = HIDE(kzalloc(64, GFP_KERNEL)); /* uaf_read: made */

	if (!wrong)
		sink = p[2];
	kfree((void *)p); /* uaf_read: freed */
	if (wrong)
		sink = p[2]; /* uaf_read: bad */
	return 0;
}

CASE(uaf_write)
{
	volatile int *p = HIDE(kzalloc(64, GFP_KERNEL)); /* uaf_write: made */

	if (!wrong)
		p[2] = 1;
	kfree((void *)p); /* uaf_write: freed */
	if (wrong)
		p[2] = 1; /* uaf_write: bad */
	return 0;
}

CASE(uaf_memcpy)
{
	char *p = HIDE(kzalloc(64, GFP_KERNEL)), to[64]; /* uaf_memcpy: made */

	if (!wrong)
		memcpy(HIDE(&to[0]), p, HIDE(64));
	kfree(p); /* uaf_memcpy: freed */
	if (wrong)
		memcpy(HIDE(&to[0]), p, HIDE(64)); /* uaf_memcpy: bad */
	return 0;
}

struct locked {
	struct mutex lock;
	int number;
};

CASE(uaf_mutex)
{
	struct locked *p = HIDE((struct locked *)kmalloc(sizeof(*p), GFP_KERNEL)); /* uaf_mutex: made */

	mutex_init(&p->lock);
	mutex_lock(&p->lock);
	mutex_unlock(&p->lock);
	if (wrong) {
		kfree(p); /* uaf_mutex: freed */
		mutex_lock(&p->lock); /* uaf_mutex: bad */
	} else {
		kfree(p);
	}
	return 0;
}

CASE(uaf_cache)
{
	struct kmem_cache *cache = KMEM_CACHE(record, 0);
	struct record *p = HIDE((struct record *)kmem_cache_zalloc(cache, GFP_KERNEL)); /* uaf_cache: made */

	if (!wrong)
		sink = READ_ONCE(p->number);
	kmem_cache_free(cache, p); /* uaf_cache: freed */
	if (wrong)
		sink = READ_ONCE(p->number); /* uaf_cache: bad */
	kmem_cache_destroy(cache);
	return 0;
}

/* Such objects may be read for a grace period after they are freed. */
CASE(uaf_cache_rcu)
{
	struct kmem_cache *cache =
		kmem_cache_create("record_rcu", sizeof(struct record), 0, wrong ? 0 : SLAB_TYPESAFE_BY_RCU, NULL);
	struct record *p = HIDE((struct record *)kmem_cache_zalloc(cache, GFP_KERNEL)); /* uaf_cache_rcu: made */

	rcu_read_lock();
	kmem_cache_free(cache, p); /* uaf_cache_rcu: freed */
	sink = READ_ONCE(p->number); /* uaf_cache_rcu: bad */
	rcu_read_unlock();
	kmem_cache_destroy(cache);
	return 0;
}

CASE(uaf_vmalloc)
{
	volatile char *p = HIDE(vzalloc(5000)); /* uaf_vmalloc: made */

	if (!wrong)
		sink = p[100];
	vfree((void *)p); /* uaf_vmalloc: freed */
	if (wrong)
		sink = p[100]; /* uaf_vmalloc: bad */
	return 0;
}

CASE(uaf_pages)
{
	struct page *page = alloc_page(GFP_KERNEL | __GFP_ZERO); /* uaf_pages: made */
	volatile char *p = HIDE(page_address(page));

	if (!wrong)
		sink = p[100];
	__free_page(page); /* uaf_pages: freed */
	if (wrong)
		sink = p[100]; /* uaf_pages: bad */
	return 0;
}

CASE(uaf_free_page)
{
	volatile char *p = HIDE((volatile char *)get_zeroed_page(GFP_KERNEL)); /* uaf_free_page: made */

	if (!wrong)
		p[100] = 1;
	free_page((long)p); /* uaf_free_page: freed */
	if (wrong)
		p[100] = 1; /* uaf_free_page: bad */
	return 0;
}

CASE(uaf_pages_exact)
{
	volatile char *p = HIDE(alloc_pages_exact(3 * PAGE_SIZE, GFP_KERNEL)); /* uaf_pages_exact: made */

	if (!wrong)
		p[5000] = 1;
	free_pages_exact((void *)p, 3 * PAGE_SIZE); /* uaf_pages_exact: freed */
	if (wrong)
		p[5000] = 1; /* uaf_pages_exact: bad */
	return 0;
}

CASE(uaf_percpu)
{
	struct counters __percpu *each = alloc_percpu(struct counters); /* uaf_percpu: made */

	if (!wrong)
		this_cpu_inc(each->bytes);
	free_percpu(each); /* uaf_percpu: freed */
	if (wrong)
		this_cpu_inc(each->bytes); /* uaf_percpu: bad */
	return 0;
}

CASE(uaf_krealloc)
{
	volatile char *p = HIDE(kzalloc(40, GFP_KERNEL)); /* uaf_krealloc: made */
	volatile char *q = HIDE(krealloc((void *)p, 5000, GFP_KERNEL)); /* uaf_krealloc: freed */

	sink = wrong ? p[8] : q[8]; /* uaf_krealloc: bad */
	kfree((void *)q);
	return 0;
}

struct later {
	struct rcu_head rcu;
	int number;
};

/* Freed by RCU: gone only when the readers are. */
CASE(uaf_kfree_rcu)
{
	struct later *p = HIDE((struct later *)kzalloc(sizeof(*p), GFP_KERNEL)); /* uaf_kfree_rcu: made */

	if (wrong) {
		kfree(p); /* uaf_kfree_rcu: freed */
		sink = READ_ONCE(p->number); /* uaf_kfree_rcu: bad */
	} else {
		rcu_read_lock();
		kfree_rcu(p, rcu);
		sink = READ_ONCE(p->number);
		rcu_read_unlock();
	}
	return 0;
}

/* ---- frees that are wrong ---------------------------------------------------------------------------------------- */
CASE(twice_kfree)
{
	char *p = HIDE(kmalloc(64, GFP_KERNEL)); /* twice_kfree: made */

	kfree(p); /* twice_kfree: freed */
	if (wrong)
		kfree(HIDE(p)); /* twice_kfree: bad */
	return 0;
}

CASE(twice_kvfree)
{
	char *p = HIDE(kvmalloc(64, GFP_KERNEL)); /* twice_kvfree: made */

	kvfree(p); /* twice_kvfree: freed */
	if (wrong)
		kvfree(HIDE(p)); /* twice_kvfree: bad */
	return 0;
}

CASE(twice_sensitive)
{
	char *p = HIDE(kmalloc(64, GFP_KERNEL)); /* twice_sensitive: made */

	kfree_sensitive(p); /* twice_sensitive: freed */
	if (wrong)
		kfree_sensitive(HIDE(p)); /* twice_sensitive: bad */
	return 0;
}

CASE(twice_cache)
{
	struct kmem_cache *cache = KMEM_CACHE(record, 0);
	char *p = HIDE(kmem_cache_alloc(cache, GFP_KERNEL)); /* twice_cache: made */

	kmem_cache_free(cache, p); /* twice_cache: freed */
	if (wrong)
		kmem_cache_free(cache, HIDE(p)); /* twice_cache: bad */
	kmem_cache_destroy(cache);
	return 0;
}

CASE(twice_vfree)
{
	char *p = HIDE(vmalloc(5000)); /* twice_vfree: made */

	vfree(p); /* twice_vfree: freed */
	if (wrong)
		vfree(HIDE(p)); /* twice_vfree: bad */
	return 0;
}

CASE(twice_pages)
{
	struct page *page = alloc_pages(GFP_KERNEL, 1); /* twice_pages: made */

	__free_pages(page, 1); /* twice_pages: freed */
	if (wrong)
		__free_pages(HIDE(page), 1); /* twice_pages: bad */
	return 0;
}

CASE(twice_free_pages)
{
	unsigned long p = HIDE(__get_free_pages(GFP_KERNEL, 1)); /* twice_free_pages: made */

	free_pages(p, 1); /* twice_free_pages: freed */
	if (wrong)
		free_pages(HIDE(p), 1); /* twice_free_pages: bad */
	return 0;
}

CASE(twice_exact)
{
	void *p = HIDE(alloc_pages_exact(3 * PAGE_SIZE, GFP_KERNEL)); /* twice_exact: made */

	free_pages_exact(p, 3 * PAGE_SIZE); /* twice_exact: freed */
	if (wrong)
		free_pages_exact(HIDE(p), 3 * PAGE_SIZE); /* twice_exact: bad */
	return 0;
}

CASE(twice_percpu)
{
	struct counters __percpu *each = alloc_percpu(struct counters); /* twice_percpu: made */

	free_percpu(each); /* twice_percpu: freed */
	if (wrong)
		free_percpu(HIDE(each)); /* twice_percpu: bad */
	return 0;
}

CASE(invalid_inside)
{
	char *p = HIDE(kmalloc(64, GFP_KERNEL)); /* invalid_inside: made */

	if (wrong)
		kfree(HIDE(p + 8)); /* invalid_inside: bad */
	kfree(p);
	return 0;
}

CASE(invalid_vfree_inside)
{
	char *p = HIDE(vmalloc(9000)); /* invalid_vfree_inside: made */

	if (wrong)
		vfree(HIDE(p + 4096)); /* invalid_vfree_inside: bad */
	vfree(p);
	return 0;
}

CASE(invalid_global)
{
	if (wrong)
		kfree(HIDE(&table[0])); /* invalid_global: bad */
	return 0;
}

CASE(invalid_stack)
{
	char here[64] = "";

	if (wrong)
		kfree(HIDE(&here[0])); /* invalid_stack: bad */
	return here[0];
}

CASE(invalid_vfree_of_kmalloc)
{
	char *p = HIDE(kmalloc(64, GFP_KERNEL)); /* invalid_vfree_of_kmalloc: made */

	if (wrong)
		vfree(p); /* invalid_vfree_of_kmalloc: bad */
	kfree(p);
	return 0;
}

CASE(invalid_kfree_of_vmalloc)
{
	char *p = HIDE(vmalloc(64)); /* invalid_kfree_of_vmalloc: made */

	if (wrong)
		kfree(p); /* invalid_kfree_of_vmalloc: bad */
	vfree(p);
	return 0;
}

CASE(invalid_kfree_of_pages)
{
	char *p = HIDE((char *)__get_free_page(GFP_KERNEL)); /* invalid_kfree_of_pages: made */

	if (wrong)
		kfree(p); /* invalid_kfree_of_pages: bad */
	free_page((long)p);
	return 0;
}

CASE(invalid_free_page_of_kmalloc)
{
	char *p = HIDE(kmalloc(4096, GFP_KERNEL)); /* invalid_free_page_of_kmalloc: made */

	if (wrong)
		free_page((long)p); /* invalid_free_page_of_kmalloc: bad */
	kfree(p);
	return 0;
}

CASE(invalid_cache_of_kmalloc)
{
	struct kmem_cache *cache = KMEM_CACHE(record, 0);
	char *p = HIDE(kmalloc(64, GFP_KERNEL)); /* invalid_cache_of_kmalloc: made */

	if (wrong)
		kmem_cache_free(cache, p); /* invalid_cache_of_kmalloc: bad */
	kfree(p);
	kmem_cache_destroy(cache);
	return 0;
}

CASE(invalid_cache)
{
	struct kmem_cache *cache = KMEM_CACHE(record, 0);
	struct kmem_cache *other = KMEM_CACHE(counters, 0);
	char *p = HIDE(kmem_cache_alloc(cache, GFP_KERNEL)); /* invalid_cache: made */

	if (wrong)
		kmem_cache_free(other, p); /* invalid_cache: bad */
	kmem_cache_free(cache, p);
	kmem_cache_destroy(other);
	kmem_cache_destroy(cache);
	return 0;
}

CASE(invalid_percpu)
{
	struct counters __percpu *each = alloc_percpu(struct counters); /* invalid_percpu: made */

	if (wrong)
		free_percpu((void __percpu *)HIDE((char __percpu *)each + 8)); /* invalid_percpu: bad */
	free_percpu(each);
	return 0;
}

/* ---- what was never written -------------------------------------------------------------------------------------- */
CASE(uninit_tail)
{
	char *p = HIDE(kmalloc(64, GFP_KERNEL)); /* uninit_tail: made */
	long left;

	memset(p, 1, wrong ? 50 : 64);
	left = copy_to_user(user, p, HIDE(64)); /* uninit_tail: bad */
	kfree(p);
	return left;
}

struct holed {
	char first;
	long second;
};

CASE(uninit_padding)
{
	struct holed *p = HIDE((struct holed *)(wrong ? kmalloc(sizeof(*p), GFP_KERNEL) : /* uninit_padding: made */
							kzalloc(sizeof(*p), GFP_KERNEL)));
	long left;

	p->first = 1;
	p->second = 2;
	left = copy_to_user(user, p, sizeof(*p)); /* uninit_padding: bad */
	kfree(p);
	return left;
}

CASE(uninit_pages)
{
	char *p = HIDE((char *)__get_free_page(wrong ? GFP_KERNEL : GFP_KERNEL | __GFP_ZERO)); /* uninit_pages: made */
	long left = copy_to_user(user, p, HIDE(64)); /* uninit_pages: bad */

	free_page((long)p);
	return left;
}

CASE(uninit_vmalloc)
{
	char *p = HIDE((char *)__vmalloc(5000, wrong ? GFP_KERNEL : GFP_KERNEL | __GFP_ZERO)); /* uninit_vmalloc: made */
	long left = copy_to_user(user, p, HIDE(64)); /* uninit_vmalloc: bad */

	vfree(p);
	return left;
}

CASE(uninit_copied)
{
	char *p = HIDE(kmalloc(64, GFP_KERNEL)), *q = HIDE(kmalloc(64, GFP_KERNEL)); /* uninit_copied: made */
	long left;

	memset(p, 1, wrong ? 50 : 64);
	memcpy(q, p, HIDE(64));
	left = copy_to_user(user, q, HIDE(64)); /* uninit_copied: bad */
	kfree(q);
	kfree(p);
	return left;
}

CASE(uninit_realloc)
{
	char *p = HIDE(krealloc(kzalloc(16, GFP_KERNEL), 64, wrong ? GFP_KERNEL : GFP_KERNEL | __GFP_ZERO)); /* uninit_realloc: made */
	long left = copy_to_user(user, p, HIDE(64)); /* uninit_realloc: bad */

	kfree(p);
	return left;
}

CASE(uninit_proc)
{
	char *p = HIDE(kmalloc(64, GFP_KERNEL)); /* uninit_proc: made */
	loff_t at = 0;
	long left;

	memset(p, 1, wrong ? 50 : 64);
	left = simple_read_from_buffer(user, room, &at, p, 64); /* uninit_proc: bad */
	kfree(p);
	return left == 64 ? 0 : -EFAULT;
}

CASE(uninit_put_user)
{
	struct record *p = HIDE((struct record *)kmalloc(sizeof(*p), GFP_KERNEL)); /* uninit_put_user: made */
	long left;

	if (!wrong)
		p->number = 7;
	left = put_user(p->number, (int __user *)user); /* uninit_put_user: bad */
	kfree(p);
	return left;
}

CASE(uninit_put_byte)
{
	char *p = HIDE(kmalloc(64, GFP_KERNEL)); /* uninit_put_byte: made */
	long left;

	if (!wrong)
		memset(p, 1, 64);
	left = put_user(p[5], user); /* uninit_put_byte: bad */
	kfree(p);
	return left;
}

CASE(uninit_put_stack)
{
	struct timespec64 now __attribute__((uninitialized)), *p = HIDE(&now); /* else the compiler clears it */

	if (!wrong)
		ktime_get_real_ts64(p); /* the kernel writes it, and nobody watches */
	return put_user(READ_ONCE(p->tv_sec), (time64_t __user *)user); /* uninit_put_stack: bad */
}

/* ---- pointers that point nowhere --------------------------------------------------------------------------------- */
CASE(wild_null)
{
	struct record *p = wrong ? NULL : kzalloc(sizeof(*p), GFP_KERNEL);

	WRITE_ONCE(HIDE(p)->number, 1); /* wild_null: bad */
	kfree(p);
	return 0;
}

CASE(wild_null_memcpy)
{
	char *p = wrong ? NULL : kzalloc(64, GFP_KERNEL);

	memcpy(HIDE(p), name, HIDE(8)); /* wild_null_memcpy: bad */
	kfree(p);
	return 0;
}

CASE(wild_err_ptr)
{
	struct record *p = wrong ? ERR_PTR(-ENOMEM) : kzalloc(sizeof(*p), GFP_KERNEL);

	sink = READ_ONCE(HIDE(p)->number); /* wild_err_ptr: bad */
	kfree(p);
	return 0;
}

CASE(wild_poison)
{
	struct list_head one, *p = &one;

	INIT_LIST_HEAD(&one);
	if (wrong)
		p = LIST_POISON1;
	sink = (long)READ_ONCE(HIDE(p)->next); /* wild_poison: bad */
	return 0;
}

CASE(wild_nowhere)
{
	struct record *p = wrong ? (void *)0xffff9f0000000000 : kzalloc(sizeof(*p), GFP_KERNEL);

	sink = READ_ONCE(HIDE(p)->number); /* wild_nowhere: bad */
	kfree(p);
	return 0;
}

CASE(wild_user)
{
	char first = 0;

	if (wrong)
		first = READ_ONCE(*(char __force *)HIDE(user)); /* wild_user: bad */
	else if (get_user(first, user))
		return -EFAULT;
	sink = first;
	return 0;
}

CASE(wild_user_memcpy)
{
	char to[16];

	if (wrong)
		memcpy(to, (char __force *)HIDE(user), HIDE(16)); /* wild_user_memcpy: bad */
	else if (copy_from_user(to, user, 16))
		return -EFAULT;
	sink = to[0];
	return 0;
}

/* ---- what is never freed ----------------------------------------------------------------------------------------- */
static struct kmem_cache *leaking;

CASE(leak_kmalloc)
{
	char *p = HIDE(kmalloc(77, GFP_KERNEL)); /* leak_kmalloc: made */

	if (!wrong)
		kfree(p);
	return 0;
}

CASE(leak_kstrdup)
{
	char *p = HIDE(kstrdup("some text", GFP_KERNEL)); /* leak_kstrdup: made */

	if (!wrong)
		kfree(p);
	return 0;
}

CASE(leak_kasprintf)
{
	char *p = HIDE(kasprintf(GFP_KERNEL, "%s-%d", name, 7)); /* leak_kasprintf: made */

	if (!wrong)
		kfree(p);
	return 0;
}

CASE(leak_cache)
{
	void *p;

	if (!leaking)
		leaking = KMEM_CACHE(record, 0);
	p = HIDE(kmem_cache_alloc(leaking, GFP_KERNEL)); /* leak_cache: made */
	if (!wrong)
		kmem_cache_free(leaking, p);
	return 0;
}

CASE(leak_vmalloc)
{
	char *p = HIDE(vmalloc(5000)); /* leak_vmalloc: made */

	if (!wrong)
		vfree(p);
	return 0;
}

CASE(leak_pages)
{
	struct page *page = HIDE(alloc_pages(GFP_KERNEL, 1)); /* leak_pages: made */

	if (!wrong)
		__free_pages(page, 1);
	return 0;
}

CASE(leak_free_page)
{
	unsigned long p = HIDE(get_zeroed_page(GFP_KERNEL)); /* leak_free_page: made */

	if (!wrong)
		free_page(p);
	return 0;
}

CASE(leak_pages_exact)
{
	void *p = HIDE(alloc_pages_exact(3 * PAGE_SIZE, GFP_KERNEL)); /* leak_pages_exact: made */

	if (!wrong)
		free_pages_exact(p, 3 * PAGE_SIZE);
	return 0;
}

CASE(leak_percpu)
{
	struct counters __percpu *each = HIDE(alloc_percpu(struct counters)); /* leak_percpu: made */

	if (!wrong)
		free_percpu(each);
	return 0;
}

CASE(leak_krealloc)
{
	char *p = kmalloc(40, GFP_KERNEL);

	p = HIDE(krealloc(p, 5000, GFP_KERNEL)); /* leak_krealloc: made */
	if (!wrong)
		kfree(p);
	return 0;
}

#define ROW(name) { #name, name }
static const struct {
	const char *name;
	long (*run)(ARGS);
} rows[] = {
	ROW(edge_kmalloc), ROW(edge_kmalloc_odd), ROW(edge_kmalloc_variable), ROW(edge_kmalloc_atomic), ROW(edge_kzalloc),
	ROW(edge_kcalloc), ROW(edge_kmalloc_page), ROW(edge_kmalloc_large), ROW(edge_kmemdup), ROW(edge_krealloc_grow),
	ROW(edge_krealloc_shrink), ROW(edge_cache), ROW(edge_cache_ctor), ROW(edge_vmalloc), ROW(edge_vmalloc_pages),
	ROW(edge_kvmalloc), ROW(edge_kvmalloc_large), ROW(edge_pages), ROW(edge_pages_order), ROW(edge_pages_compound),
	ROW(edge_free_page), ROW(edge_zeroed_page), ROW(edge_pages_exact), ROW(edge_percpu),
	ROW(global_index), ROW(global_write), ROW(global_padding), ROW(global_percpu), ROW(global_percpu_this),
	ROW(global_bss), ROW(global_const), ROW(global_memset), ROW(global_stored),
	ROW(global_stored_stack),
	ROW(by_memcpy_to), ROW(by_memcpy_from), ROW(by_memset), ROW(by_memcmp), ROW(by_strcpy), ROW(by_strcat),
	ROW(by_strlen), ROW(by_sprintf), ROW(by_printk), ROW(by_kstrtoint), ROW(uaf_print), ROW(stack_index), ROW(stack_memset),
	ROW(by_snprintf), ROW(by_copy_to_user), ROW(by_copy_from_user), ROW(by_bitops),
	ROW(uaf_read), ROW(uaf_write), ROW(uaf_memcpy), ROW(uaf_mutex), ROW(uaf_cache), ROW(uaf_cache_rcu),
	ROW(uaf_vmalloc), ROW(uaf_pages), ROW(uaf_free_page), ROW(uaf_pages_exact), ROW(uaf_percpu), ROW(uaf_krealloc),
	ROW(uaf_kfree_rcu), ROW(twice_kfree), ROW(twice_kvfree), ROW(twice_sensitive), ROW(twice_cache), ROW(twice_vfree),
	ROW(twice_pages), ROW(twice_free_pages), ROW(twice_exact), ROW(twice_percpu), ROW(invalid_inside),
	ROW(invalid_vfree_inside), ROW(invalid_global), ROW(invalid_stack), ROW(invalid_vfree_of_kmalloc),
	ROW(invalid_kfree_of_vmalloc), ROW(invalid_kfree_of_pages), ROW(invalid_free_page_of_kmalloc),
	ROW(invalid_cache_of_kmalloc), ROW(invalid_cache), ROW(invalid_percpu), ROW(uninit_tail), ROW(uninit_padding),
	ROW(uninit_pages), ROW(uninit_vmalloc), ROW(uninit_copied), ROW(uninit_realloc), ROW(uninit_proc), ROW(uninit_put_user),
	ROW(uninit_put_byte), ROW(uninit_put_stack), ROW(wild_null), ROW(wild_null_memcpy), ROW(wild_err_ptr), ROW(wild_poison), ROW(wild_nowhere),
	ROW(wild_user), ROW(wild_user_memcpy), ROW(leak_kmalloc), ROW(leak_kstrdup), ROW(leak_kasprintf), ROW(leak_cache),
	ROW(leak_vmalloc), ROW(leak_pages), ROW(leak_free_page), ROW(leak_pages_exact), ROW(leak_percpu),
	ROW(leak_krealloc),
};

static long run(ARGS)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(rows); i++)
		if (!strcmp(rows[i].name, what))
			return rows[i].run(user, room);
	return -ENOENT;
}

static ssize_t memory_read(struct file *file, char __user *user, size_t room, loff_t *at)
{
	long failed = run(user, room);

	return failed < 0 ? failed : failed ? -EFAULT : 0;
}

static const struct proc_ops memory_ops = { .proc_read = memory_read };

static int __init memory_init(void)
{
	wrong = !right;
	if (fail) {
		run(NULL, 16);
		return -ENODEV;
	}
	return proc_create("memory_faults", 0400, NULL, &memory_ops) ? 0 : -ENOMEM;
}

static void __exit memory_exit(void)
{
	remove_proc_entry("memory_faults", NULL);
	kmem_cache_destroy(leaking);
}

module_init(memory_init);
module_exit(memory_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Each way to get memory wrong, and right");
