/*
 * Allocators and what takes memory back, as watched code calls them: slabs' objects, by far the most. What they get is made
 * larger on its way, what they free goes into the quarantine. Where there is more to it (another kind of memory, something
 * to report), the call is declined: the probe that kobox/checks/memory/alloc_hooks.py has set there is told.
 */
#include "heap.h"

#define ZERO_SIZE 16         /* ZERO_SIZE_PTR: what kmalloc(0) gives */
#define GFP_DMA 0x1u         /* include/linux/gfp_types.h */
#define GFP_RECLAIMABLE 0x10u
#define GFP_ZERO 0x100u
#define LARGEST_REQUEST (1u << 30)
#define STACK_WORDS 512      /* that a call chain is known by */

/* ---- what the kernel has ------------------------------------------------------------------------------------------------- */
static bool read_at(struct machine *m, uint64_t va, void *out, size_t size)
{
    uint64_t pa = va >> 63 ? physical(m, va) : UNMAPPED;
    if (pa >= NOT_RAM || pa + size > m->ram_size)
        return false;
    memcpy(out, m->ram + pa, size);
    return true;
}

/* Whether an address lies in another page than the first of a slab or compound page. */
static bool is_tail(struct machine *m, uint64_t address)
{
    const struct heap_places *p = &m->watch->heap->places;
    uint8_t head = 0;
    return read_at(m, p->vmemmap + (address - p->direct) / PAGE * p->page_size + p->head_at, &head, 1) && head & 1;
}

static uint32_t size_of_cache(struct machine *m, uint64_t cache)
{
    uint32_t size = 0;
    read_at(m, cache + m->watch->heap->places.object_size_at, &size, 4);
    return size;
}

static const struct made_cache *made_cache(const struct heap *h, uint64_t cache)
{
    for (size_t n = 0; n < h->cache_count; n++)
        if (h->caches[n].cache == cache)
            return &h->caches[n];
    return NULL;
}

static uint64_t own_cache(const struct heap *h, uint64_t size)
{
    for (size_t n = 0; n < h->size_count; n++)
        if (h->sizes[n].size == size)
            return h->sizes[n].cache;
    return 0;
}

static bool has_own_caches(const struct heap *h)
{
    for (size_t n = 0; n < h->size_count; n++)
        if (h->sizes[n].cache)
            return true;
    return false;
}

/* ---- on whose stack ------------------------------------------------------------------------------------------------------ */
static const struct awaited *awaited_on(const struct watch *w, uint64_t stack, enum awaited_kind what)
{
    for (size_t n = w->awaited_count; n--;)
        if (w->awaited[n].what == what && STACK_OF(w->awaited[n].entry_sp) == stack)
            return &w->awaited[n];
    return NULL;
}

/* The function that allocates for the module on a stack, unless it waits there: a page fault came in between. */
static const struct awaited *behalf_on(const struct watch *w, uint64_t stack)
{
    for (size_t n = w->awaited_count; n--;)
        if ((w->awaited[n].what == AWAIT_BEHALF || w->awaited[n].what == AWAIT_PAUSE) && STACK_OF(w->awaited[n].entry_sp) == stack)
            return w->awaited[n].what == AWAIT_BEHALF ? &w->awaited[n] : NULL;
    return NULL;
}

static bool is_among(const uint64_t *list, size_t count, uint64_t item)
{
    for (size_t n = 0; n < count; n++)
        if (list[n] == item)
            return true;
    return false;
}

static bool is_open(const struct watch *w, uint64_t stack)
{
    return is_among(w->heap->open, w->heap->open_count, stack) || awaited_on(w, stack, AWAIT_ALLOCATION);
}

/* Whether the task is in a function that allocates for the module. */
bool watch_inside(struct machine *m)
{
    return m->watch->heap && behalf_on(m->watch, STACK_OF(live_sp(m)));
}

/* ---- call chains ---------------------------------------------------------------------------------------------------------- */
/*
 * The number by which Python knows the calls at this moment: the same as last time when the same function was called from
 * the same place with the stack pointer where it was, and all that can be a return address or a saved frame pointer is there
 * as it was. 0: none.
 */
static uint32_t trace_number(struct machine *m, const struct allocation_rule *rule)
{
    struct heap *h = m->watch->heap;
    uint64_t sp = live_sp(m), top = STACK_OF(sp) + 0x4000, hash = sp ^ m->watch->caller * 0x9E3779B97F4A7C15ull;
    hash = (hash ^ live_reg(m, R_FRAME)) * 0xBF58476D1CE4E5B9ull ^ rule->address;
    top = top < sp + 8 * STACK_WORDS ? top : sp + 8 * STACK_WORDS;
    for (uint64_t at = sp, piece; at < top; at += piece) {
        uint64_t pa = physical(m, at);
        piece = PAGE - (at & (PAGE - 1)) < top - at ? PAGE - (at & (PAGE - 1)) : top - at;
        if (pa >= NOT_RAM)
            break;
        for (uint64_t i = 0, word; i < piece; i += 8) {
            memcpy(&word, m->ram + pa + i, 8);
            if (may_be_code(word) || word - sp < 0x4000)
                hash = (hash ^ word) * 0x9E3779B97F4A7C15ull, hash ^= hash >> 32;
        }
    }
    hash |= !hash;
    size_t n = hash % (sizeof h->traces / sizeof *h->traces);
    if (h->traces[n].hash != hash) {
        uint32_t number = (uint32_t)ask_python(m, ASK_ALLOCATION_TRACE, m->watch->caller, 0, rule->address, 0, 0);
        if (!number)
            return 0;
        h->traces[n].hash = hash, h->traces[n].number = number;
    }
    return h->traces[n].number;
}

/* ---- allocating ---------------------------------------------------------------------------------------------------------- */
/* Ask for more than the module does, and from caches for reclaimable memory. False: Python must do it. */
static bool make_room(struct machine *m, const struct allocation_rule *rule, struct object *o)
{
    const struct heap *h = m->watch->heap;
    uint64_t flags = rule->flags_at < ARGUMENTS ? live_argument(m, rule->flags_at) : 0, cache;
    o->size = live_argument(m, rule->size_at);
    if (!o->size || o->size > LARGEST_REQUEST)
        return false;
    o->slot = heap_roomy(h, o->size);
    if (o->slot > LARGEST_SLOT)
        return false;
    if (rule->how == ALLOCATES_FROM_SIZED) {
        if (!(cache = own_cache(h, o->slot)))
            return false;
        set_argument(m, 0, cache);
        return true;
    }
    set_argument(m, rule->size_at, o->slot);
    if (rule->flags_at < ARGUMENTS && !(flags & GFP_DMA) && has_own_caches(h))
        set_argument(m, rule->flags_at, flags | GFP_RECLAIMABLE);
    return true;
}

static void note_stack(struct heap *h, uint64_t stack)
{
    if (!is_among(h->stacks, h->stack_count, stack) && h->stack_count < MAX_STACKS)
        h->stacks[h->stack_count++] = stack;
}

/* Have the allocator called again, with the arguments that the module gave. */
static void once_more(struct machine *m, const struct awaited *call)
{
    for (unsigned n = 0; n < ARGUMENTS; n++)
        set_argument(m, n, call->arguments[n]);
    enter_function(m, call->function, call->entry_sp, call->site);
}

static void allocation_returned(struct machine *m, const struct awaited *call)
{
    struct heap *h = m->watch->heap;
    uint64_t address = live_reg(m, R_RESULT);
    struct object o = call->object;
    if (!h || !(address >> 63) || address > ~0ull - PAGE)
        return;
    o.address = o.base = address;
    if (o.kind == KMALLOC && address >= h->places.vmalloc) {
        o.kind = VMALLOC;
        o.slot = (o.slot + PAGE - 1) & ~(PAGE - 1);
    } else {
        o.inner = address & (PAGE - 1) || is_tail(m, address);
        if (!o.inner) { /* the first slot of a slab: nobody gets it */
            heap_guard(m, &o);
            once_more(m, call);
            return;
        }
    }
    heap_add(m, &o, 0);
}

static void begin_allocation(struct machine *m, const struct allocation_rule *rule)
{
    struct watch *w = m->watch;
    struct heap *h = w->heap;
    uint64_t stack = STACK_OF(live_sp(m));
    if (is_open(w, stack))
        return;
    struct awaited call = {.what = AWAIT_ALLOCATION, .returned = allocation_returned, .function = rule->address};
    const struct awaited *behalf = behalf_on(w, stack);
    uint64_t flags = rule->flags_at < ARGUMENTS ? live_argument(m, rule->flags_at) : 0;
    struct object o = {.kind = rule->how == ALLOCATES_FROM_CACHE ? CACHE : KMALLOC, .written = (flags & GFP_ZERO) != 0};
    for (unsigned n = 0; n < ARGUMENTS; n++)
        call.arguments[n] = live_argument(m, n);
    o.function = behalf ? behalf->name : rule->function;
    if (heap_is_corrupted(m) || !(o.made = trace_number(m, rule))) {
        w->declined = true;
        return;
    }
    if (rule->how == ALLOCATES_FROM_CACHE) {
        const struct made_cache *made = made_cache(h, o.cache = live_argument(m, 0));
        o.slot = size_of_cache(m, o.cache);
        o.size = made ? made->size : o.slot;
        o.written |= made && made->constructed;
        if (!o.size || o.slot > LARGEST_SLOT) {
            w->declined = true;
            return;
        }
    } else if (!make_room(m, rule, &o)) {
        w->declined = true;
        return;
    }
    note_stack(h, stack);
    call.object = o;
    await_return(m, &call);
}

/* ---- functions that allocate for their caller ------------------------------------------------------------------------------- */
static void behalf_returned(struct machine *m, const struct awaited *call)
{
    struct object *o = m->watch->heap && call->fills ? heap_at(m->watch->heap, live_reg(m, R_RESULT)) : NULL;
    if (o && o->state == LIVE)
        mark_memory(m, o->address, o->size, WRITTEN_TO, false);
}

static void begin_behalf(struct machine *m, const struct allocation_rule *rule)
{
    await_return(m, &(struct awaited){.what = AWAIT_BEHALF, .returned = behalf_returned, .function = rule->address, .name = rule->function, .fills = rule->fills});
}

/* What the kernel allocates for itself while such a function waits (page tables, say) is not the module's. */
static void pause_returned(struct machine *m, const struct awaited *call)
{
    (void)m, (void)call;
}

static void begin_pause(struct machine *m, const struct allocation_rule *rule)
{
    await_return(m, &(struct awaited){.what = AWAIT_PAUSE, .returned = pause_returned, .function = rule->address});
}

/* ---- freeing ------------------------------------------------------------------------------------------------------------- */
static bool is_armed(const struct heap *h, const struct object *o)
{
    for (size_t n = 0; n < h->armed_count; n++)
        if (h->armed[n] - o->address < o->size)
            return true;
    return h->armed_lost;
}

/* The live object that is freed, if all is well with it, else NULL. */
static struct object *plain_object(struct machine *m, const struct allocation_rule *rule, uint64_t address)
{
    const struct heap *h = m->watch->heap;
    struct object *o = heap_at(h, address);
    if (!o || o->state != LIVE || (o->kind != CACHE && (o->kind != KMALLOC || rule->how == FREES_TO_CACHE)))
        return NULL;
    const struct made_cache *made = o->kind == CACHE ? made_cache(h, o->cache) : NULL;
    if (o->kind == CACHE && (!made || made->constructed || made->by_rcu))
        return NULL;
    if (!is_slab(o) || (rule->how == FREES_TO_CACHE && o->cache != live_argument(m, 0)))
        return NULL;
    return overrun(m, o) || is_armed(h, o) ? NULL : o;
}

static void begin_free(struct machine *m, const struct allocation_rule *rule)
{
    struct watch *w = m->watch;
    unsigned argument = rule->how == FREES_TO_CACHE;
    uint64_t address = live_argument(m, argument);
    if (address <= ZERO_SIZE)
        return;
    struct object *o = plain_object(m, rule, address), *leaver = o ? heap_leaver(w->heap, o) : NULL;
    uint32_t trace = o ? trace_number(m, rule) : 0;
    if (!trace || (leaver && leaver->as_it_is) || heap_is_corrupted(m)) {
        w->declined = true;
        return;
    }
    o->guarded = 0;
    heap_free(m, o, trace);
    if (leaver) {
        uint64_t instead = leaver->address;
        heap_drop(m, leaver);
        set_argument(m, argument, instead);
    } else {
        leave_function(m, 0);
    }
}

void allocation_reached(struct machine *m, const struct allocation_rule *rule, bool from_module)
{
    bool tracked = (rule->how == FREES || rule->how == ALLOCATES_FROM_CACHE) && watch_tracks(m, 0);
    bool inside = (rule->how == ALLOCATES || rule->how == ALLOCATES_FROM_SIZED || rule->how == PAUSES) && watch_inside(m);
    tracked |= rule->how == FREES_TO_CACHE && watch_tracks(m, 1);
    if (!m->watch->heap || (!from_module && !tracked && !inside))
        return;
    if (rule->how == FREES || rule->how == FREES_TO_CACHE)
        begin_free(m, rule);
    else if (rule->how == ON_BEHALF)
        begin_behalf(m, rule);
    else if (rule->how == PAUSES)
        begin_pause(m, rule);
    else
        begin_allocation(m, rule);
}

/* ---- for Python ------------------------------------------------------------------------------------------------------------ */
EXPORT int kobox_heap_rule(struct machine *m, const struct allocation_rule *rule)
{
    struct rule *there = m->watch ? rule_at(m, rule->address, true) : NULL;
    if (!there || rule->size_at >= ARGUMENTS)
        return -1;
    there->allocation = *rule;
    return 0;
}

/* Of a cache that the module has made: the size asked for; with 0, it is gone. */
EXPORT void kobox_heap_cache(struct machine *m, uint64_t cache, uint32_t size, int constructed, int by_rcu)
{
    struct heap *h = m->watch ? m->watch->heap : NULL;
    size_t n = 0;
    while (h && n < h->cache_count && h->caches[n].cache != cache)
        n++;
    if (!h || n == MAX_CACHES)
        return;
    h->caches[n] = (struct made_cache){cache, size, (uint8_t)constructed, (uint8_t)by_rcu};
    h->cache_count += n == h->cache_count;
    if (!size)
        h->caches[n] = h->caches[--h->cache_count];
}

/* A timer or work item was armed; 0: none counts any more. */
EXPORT void kobox_heap_armed(struct machine *m, uint64_t address)
{
    struct heap *h = m->watch ? m->watch->heap : NULL;
    if (!h)
        return;
    if (!address) {
        h->armed_count = 0;
        h->armed_lost = false;
    } else if (!is_among(h->armed, h->armed_count, address)) {
        if (h->armed_count < MAX_ARMED)
            h->armed[h->armed_count++] = address;
        else
            h->armed_lost = true;
    }
}

/* Whoever runs on a stack is in an allocator that Python looks at. */
EXPORT void kobox_heap_set_open(struct machine *m, uint64_t stack, int open)
{
    struct heap *h = m->watch ? m->watch->heap : NULL;
    if (h && open && h->open_count < MAX_STACKS && !is_among(h->open, h->open_count, stack))
        h->open[h->open_count++] = stack;
    for (size_t n = 0; h && !open && n < h->open_count; n++)
        if (h->open[n] == stack)
            h->open[n] = h->open[--h->open_count];
}

EXPORT int kobox_heap_is_open(struct machine *m, uint64_t stack) { return m->watch && m->watch->heap && is_open(m->watch, stack); }

/* The name of the function that allocates for the module on a stack; -1: none. */
EXPORT int kobox_heap_behalf(struct machine *m, uint64_t stack)
{
    const struct awaited *call = m->watch && m->watch->heap ? behalf_on(m->watch, stack) : NULL;
    return call ? (int)call->name : -1;
}

EXPORT void kobox_heap_note_stack(struct machine *m, uint64_t stack)
{
    if (m->watch && m->watch->heap)
        note_stack(m->watch->heap, stack);
}

EXPORT size_t kobox_heap_stacks(struct machine *m, uint64_t *out)
{
    struct heap *h = m->watch ? m->watch->heap : NULL;
    if (h)
        memcpy(out, h->stacks, h->stack_count * sizeof *out);
    return h ? h->stack_count : 0;
}

/* Where code lies has changed: other calls may look the same. */
EXPORT void kobox_heap_forget_traces(struct machine *m)
{
    if (m->watch && m->watch->heap)
        memset(m->watch->heap->traces, 0, sizeof m->watch->heap->traces);
}
