/* The record of the memory that watched code has allocated: heap.c keeps it, heap_calls.c sees allocators called. */
#ifndef KOBOX_HEAP_H
#define KOBOX_HEAP_H

#include "watch.h"

#define LARGEST_SLOT (2 * PAGE) /* what is larger is no part of a slab (KMALLOC_MAX_CACHE_SIZE) */
#define MAX_SIZES 32
#define MAX_CACHES 64
#define MAX_ARMED 1024
#define MAX_STACKS 256

enum memory_kind { KMALLOC, CACHE, VMALLOC, PAGES, PERCPU };
enum object_state { GONE, LIVE, FREED, GUARD };
enum { REDZONE = 0x80, FREED_MARK = 0x81 };

/* Of this kernel. */
struct heap_places { uint64_t vmemmap, direct, vmalloc; uint32_t page_size, head_at, object_size_at; };
struct heap_size { uint64_t size, cache; }; /* a size that kmalloc has, and its cache for reclaimable memory, or 0 */
struct made_cache { uint64_t cache; uint32_t size; uint8_t constructed, by_rcu; }; /* that the module has made */

struct heap {
    struct object **table, **order, *oldest, *newest, *spare;
    size_t room, count, ordered, kept;
    uint64_t held, spread;
    struct heap_places places;
    struct heap_size sizes[MAX_SIZES];
    size_t size_count;
    struct made_cache caches[MAX_CACHES];
    size_t cache_count;
    uint64_t armed[MAX_ARMED]; /* timers and work items */
    size_t armed_count;
    bool armed_lost;
    uint64_t stacks[MAX_STACKS], open[MAX_STACKS]; /* on which the module has allocated; of those in an allocator now */
    size_t stack_count, open_count;
    struct { uint64_t hash; uint32_t number; } traces[4096];
};

struct object *heap_at(const struct heap *h, uint64_t address);
struct object *heap_holding(const struct heap *h, uint64_t address);
struct object *heap_add(struct machine *m, const struct object *model, uint64_t known);
struct object *heap_guard(struct machine *m, const struct object *model);
void heap_drop(struct machine *m, struct object *o);
struct object *heap_leaver(const struct heap *h, struct object *o);
void heap_free(struct machine *m, struct object *o, uint32_t trace);
bool heap_is_corrupted(struct machine *m);
uint64_t heap_roomy(const struct heap *h, uint64_t size);
bool is_slab(const struct object *o);
void set_canary(struct machine *m, struct object *o);
uint64_t overrun(struct machine *m, const struct object *o);

/* quarantine.c */
bool keep_filled(struct machine *m, uint64_t address, uint64_t size); /* true: there are too many */
void keep_no_more(struct machine *m, uint64_t address);
bool find_corrupted(struct machine *m, uint64_t budget, uint64_t *out);

#endif
