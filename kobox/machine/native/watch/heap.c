/*
 * The memory that watched code has allocated: its objects as they come and go, the room round them, and the quarantine.
 *
 *     live    allocated; the bytes behind its size are marked, and those of a slab hold a canary
 *     freed   in the quarantine: marked, filled, and the kernel has not got it back
 *     guard   nobody gets it: what lies beside an object is known by it
 *
 * kobox/checks/memory/module_heap.py says what this is for, and does what is seldom needed: it sees the objects as they
 * stand here. What allocators and their callers do is in heap_calls.c.
 */
#include "heap.h"

#define ROOM 16
#define APART 128
#define SPREAD (16u << 20)
#define CANARY 0xCC /* SLUB_RED_ACTIVE, include/linux/poison.h */
#define QUARANTINE_OBJECTS 512
#define QUARANTINE_BYTES (4u << 20)
#define AT_ONCE (64u << 10)

/* ---- the table by address ------------------------------------------------------------------------------------------------ */
static size_t slot_of(const struct heap *h, uint64_t address) { return (address >> 3 ^ address >> 13) & (h->room - 1); }

struct object *heap_at(const struct heap *h, uint64_t address)
{
    for (size_t n = h->room ? slot_of(h, address) : 0; h->room && h->table[n]; n = (n + 1) & (h->room - 1))
        if (h->table[n]->address == address)
            return h->table[n];
    return NULL;
}

static void put_in(struct heap *h, struct object *o)
{
    size_t n = slot_of(h, o->address);
    while (h->table[n])
        n = (n + 1) & (h->room - 1);
    h->table[n] = o;
}

static bool grow(struct heap *h)
{
    size_t room = h->room ? 2 * h->room : 1024;
    struct object **old = h->table, **table = calloc(room, sizeof *table);
    struct object **order = realloc(h->order, room * sizeof *order);
    if (order)
        h->order = order;
    if (!table || !order) {
        free(table);
        return false;
    }
    size_t count = h->room;
    h->table = table, h->room = room;
    for (size_t n = 0; n < count; n++)
        if (old[n])
            put_in(h, old[n]);
    free(old);
    return true;
}

/* Take it out of the table: those after it that could have stood there move up (Knuth, 6.4, algorithm R). */
static void take_out(struct heap *h, const struct object *o)
{
    size_t mask = h->room - 1, hole = slot_of(h, o->address);
    while (h->table[hole] && h->table[hole] != o)
        hole = (hole + 1) & mask;
    if (!h->table[hole])
        return;
    for (size_t n = (hole + 1) & mask; h->table[n]; n = (n + 1) & mask) {
        size_t home = slot_of(h, h->table[n]->address);
        if (((n - home) & mask) >= ((n - hole) & mask)) {
            h->table[hole] = h->table[n];
            hole = n;
        }
    }
    h->table[hole] = NULL;
    h->count--;
}

/* ---- in order of address ------------------------------------------------------------------------------------------------- */
/* How many objects begin at or below an address. */
static size_t up_to(const struct heap *h, uint64_t address)
{
    size_t low = 0, high = h->ordered;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (h->order[middle]->address <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct object *heap_holding(const struct heap *h, uint64_t address)
{
    size_t n = up_to(h, address);
    return n && address - h->order[n - 1]->address < h->order[n - 1]->slot ? h->order[n - 1] : NULL;
}

static void order_out(struct heap *h, const struct object *o)
{
    size_t n = up_to(h, o->address);
    if (n && h->order[n - 1] == o) {
        memmove(h->order + n - 1, h->order + n, (h->ordered - n) * sizeof *h->order);
        h->ordered--;
    }
}

/* ---- objects ------------------------------------------------------------------------------------------------------------- */
/* A GUARD is in no order: nobody asks what it holds. */
static struct object *new_object(struct heap *h, const struct object *model)
{
    struct object *o = h->spare;
    if (o)
        h->spare = o->newer;
    else if (!(o = malloc(sizeof *o)))
        return NULL;
    *o = *model;
    o->newer = o->older = NULL;
    return o;
}

/* Whether it is one of a slab that the module itself has allocated. */
bool is_slab(const struct object *o)
{
    return (o->kind == KMALLOC || o->kind == CACHE) && o->slot <= LARGEST_SLOT && !o->adopted;
}

/* How many bytes before an object are nobody's: given to guard it, or the end of a slot that is free. */
static uint64_t room_before(const struct heap *h, const struct object *o)
{
    if (o->inner && o->size < o->slot && !heap_holding(h, o->address - ROOM))
        return o->slot < APART ? o->slot : APART;
    return o->before;
}

/* Do `action` with each stretch of the room behind an object that lies in one page of RAM. */
#define each_piece(m, o, at, piece, pa)                                                                                          \
    for (uint64_t at = (o)->address + (o)->size, end_ = at + (o)->guarded, piece, pa;                                             \
         at < end_ && (pa = physical(m, at), piece = PAGE - (at & (PAGE - 1)), piece = piece < end_ - at ? piece : end_ - at, true); \
         at += piece)

/* The room behind an object of a slab: the first byte is zero, for there a string ends that has no end of its own. */
void set_canary(struct machine *m, struct object *o)
{
    o->guarded = (uint32_t)(o->slot - o->size);
    each_piece(m, o, at, piece, pa)
        if (pa < NOT_RAM) {
            memset(m->ram + pa, CANARY, piece);
            if (at == o->address + o->size)
                m->ram[pa] = 0;
        }
}

/* Whether somebody has written behind an object: how many bytes, 0 for none. */
uint64_t overrun(struct machine *m, const struct object *o)
{
    uint64_t written = 0, start = o->address + o->size;
    each_piece(m, o, at, piece, pa) {
        const uint8_t *ram = m->ram + pa;
        if (pa >= NOT_RAM)
            continue;
        bool first = at == start, whole = piece - first < 2 || !memcmp(ram + first, ram + first + 1, piece - first - 1);
        if (whole && (piece == first || ram[first] == CANARY) && (!first || !ram[0]))
            continue;
        for (uint64_t i = 0; i < piece; i++)
            if (ram[i] != (at + i == start ? 0 : CANARY))
                written = at + i - start + 1;
    }
    return written;
}

static void drop(struct machine *m, struct heap *h, struct object *o)
{
    uint64_t before = room_before(h, o);
    mark_memory(m, o->address - before, before + o->slot + o->behind, UNKNOWN, false);
    if (o->page)
        mark_memory(m, o->page, 1, UNKNOWN, false);
    if (o->state == LIVE && is_slab(o))
        h->spread -= o->slot;
    take_out(h, o);
    order_out(h, o);
    o->state = GONE;
    if (!o->shown) {
        o->newer = h->spare;
        h->spare = o;
    }
}

/* An object was allocated; the marks of its first `known` bytes are somebody else's to set. NULL: no memory. */
struct object *heap_add(struct machine *m, const struct object *model, uint64_t known)
{
    struct heap *h = m->watch->heap;
    struct object *old = heap_at(h, model->address), *o = NULL;
    if (old)
        heap_drop(m, old);
    if ((2 * h->count < h->room || grow(h)) && (o = new_object(h, model))) {
        put_in(h, o);
        h->count++;
        o->state = LIVE;
        size_t n = up_to(h, o->address);
        memmove(h->order + n + 1, h->order + n, (h->ordered++ - n) * sizeof *h->order);
        h->order[n] = o;
        mark_memory(m, o->address + known, o->size - known, o->written ? WRITTEN_TO : UNWRITTEN, !o->written);
        mark_memory(m, o->address + o->size, o->slot - o->size + o->behind, REDZONE, false);
        uint64_t before = room_before(h, o);
        mark_memory(m, o->address - before, before, REDZONE, false);
        if (o->page)
            mark_memory(m, o->page, 1, WRITTEN_TO, false);
        if (is_slab(o)) {
            h->spread += o->slot;
            set_canary(m, o);
        }
    }
    return o;
}

/* Keep a slot for nobody. */
struct object *heap_guard(struct machine *m, const struct object *model)
{
    struct heap *h = m->watch->heap;
    struct object *old = heap_at(h, model->address), *o = NULL;
    if (old)
        heap_drop(m, old);
    if ((2 * h->count < h->room || grow(h)) && (o = new_object(h, model))) {
        put_in(h, o);
        h->count++;
        o->state = GUARD;
        mark_memory(m, o->address, o->slot, REDZONE, false);
    }
    return o;
}

void heap_drop(struct machine *m, struct object *o)
{
    struct heap *h = m->watch->heap;
    if (o->state == FREED) {
        *(o->older ? &o->older->newer : &h->oldest) = o->newer;
        *(o->newer ? &o->newer->older : &h->newest) = o->older;
        h->kept--;
        h->held -= o->slot;
        if (!o->as_it_is)
            keep_no_more(m, o->address);
    }
    drop(m, h, o);
}

/* ---- the quarantine -------------------------------------------------------------------------------------------------------- */
/* Which object leaves the quarantine when `o` comes: one of its kind and cache, or NULL as long as there is room. */
struct object *heap_leaver(const struct heap *h, struct object *o)
{
    if (h->kept + 1 <= QUARANTINE_OBJECTS && h->held + o->slot <= QUARANTINE_BYTES)
        return NULL;
    for (struct object *old = h->oldest; old; old = old->newer)
        if (old->kind == o->kind && old->cache == o->cache)
            return old;
    return o;
}

/* A live object is freed: into the quarantine, filled, or (`as_it_is`) as it is. */
void heap_free(struct machine *m, struct object *o, uint32_t trace)
{
    struct heap *h = m->watch->heap;
    if (is_slab(o))
        h->spread -= o->slot;
    o->state = FREED, o->gone = trace, o->freed_at = now(m);
    if (o->as_it_is || keep_filled(m, o->address, o->size))
        o->as_it_is = 1;
    mark_memory(m, o->address, o->slot, FREED_MARK, false);
    o->older = h->newest;
    o->newer = NULL;
    *(h->newest ? &h->newest->newer : &h->oldest) = o;
    h->newest = o;
    h->kept++;
    h->held += o->slot;
}

/* Whether what is in quarantine has to be looked at: when it is not much, it is on every occasion. */
bool heap_is_corrupted(struct machine *m)
{
    uint64_t found[3];
    return m->watch->heap->held <= AT_ONCE && find_corrupted(m, ~0ull, found);
}

/* ---- sizes --------------------------------------------------------------------------------------------------------------- */
/* What to ask kmalloc for, so that `size` bytes have room behind them: the size of a cache, or whole pages. */
uint64_t heap_roomy(const struct heap *h, uint64_t size)
{
    uint64_t wanted = size + (h->spread < SPREAD ? APART : ROOM);
    uint64_t unit = size & (size - 1) ? 1 : size ? size : 1; /* powers of two are promised to be aligned to their size */
    for (size_t n = 0; n < h->size_count; n++)
        if (wanted <= h->sizes[n].size && !(h->sizes[n].size % unit))
            return h->sizes[n].size;
    wanted = unit > 1 ? 2 * size : wanted;
    uint64_t pages = PAGE;
    while (pages < wanted)
        pages <<= 1;
    return pages;
}

/* ---- for Python ------------------------------------------------------------------------------------------------------------ */
void heap_forget(struct watch *w)
{
    struct heap *h = w->heap;
    for (size_t n = 0; h && n < h->room; n++)
        if (h->table[n]) {
            h->table[n]->newer = h->spare;
            h->spare = h->table[n];
        }
    for (struct object *o = h ? h->spare : NULL, *next; o; o = next) {
        next = o->newer;
        free(o);
    }
    if (h) {
        free(h->table);
        free(h->order);
    }
    free(h);
    w->heap = NULL;
}

EXPORT int kobox_heap_open(struct machine *m, const struct heap_places *places, const struct heap_size *sizes, int count)
{
    struct watch *w = m->watch;
    if (!w)
        return -1;
    heap_forget(w);
    if (!(w->heap = calloc(1, sizeof *w->heap)))
        return -1;
    w->heap->places = *places;
    w->heap->size_count = (size_t)(count < MAX_SIZES ? count : MAX_SIZES);
    memcpy(w->heap->sizes, sizes, w->heap->size_count * sizeof *sizes);
    return 0;
}

static struct heap *heap_of(struct machine *m) { return m->watch ? m->watch->heap : NULL; }

static struct object *shown(struct object *o)
{
    if (o)
        o->shown = 1;
    return o;
}

EXPORT struct object *kobox_heap_at(struct machine *m, uint64_t address, int state)
{
    struct object *o = heap_of(m) ? heap_at(m->watch->heap, address) : NULL;
    return o && o->state == state ? shown(o) : NULL;
}

EXPORT struct object *kobox_heap_holding(struct machine *m, uint64_t address)
{
    return heap_of(m) ? shown(heap_holding(m->watch->heap, address)) : NULL;
}

/* The last object that begins at or below an address (`after` 0), or the first above it (1). */
EXPORT struct object *kobox_heap_beside(struct machine *m, uint64_t address, int after)
{
    const struct heap *h = heap_of(m);
    size_t n = h ? up_to(h, address) : 0;
    if (!h || (after ? n == h->ordered : !n))
        return NULL;
    return shown(h->order[after ? n : n - 1]);
}

/* The objects in a state, those in quarantine the oldest first; how many there are, at most `most` of them in `out`. */
EXPORT size_t kobox_heap_list(struct machine *m, int state, struct object **out, size_t most)
{
    const struct heap *h = heap_of(m);
    size_t found = 0;
    for (struct object *o = h && state == FREED ? h->oldest : NULL; o; o = o->newer)
        if (found++ < most)
            out[found - 1] = shown(o);
    for (size_t n = 0; h && state != FREED && n < h->room; n++)
        if (h->table[n] && h->table[n]->state == state && found++ < most)
            out[found - 1] = shown(h->table[n]);
    return found;
}

EXPORT struct object *kobox_heap_add(struct machine *m, const struct object *model, uint64_t known)
{
    return heap_of(m) ? shown(heap_add(m, model, known)) : NULL;
}

EXPORT struct object *kobox_heap_guard(struct machine *m, const struct object *model)
{
    return heap_of(m) ? shown(heap_guard(m, model)) : NULL;
}

/* Free a live object: what has to be freed in its stead, or NULL. */
EXPORT struct object *kobox_heap_free(struct machine *m, struct object *o, uint32_t trace)
{
    if (!heap_of(m) || o->state != LIVE)
        return NULL;
    struct object *leaver = heap_leaver(m->watch->heap, o);
    heap_free(m, o, trace);
    return shown(leaver);
}

EXPORT void kobox_heap_drop(struct machine *m, struct object *o)
{
    if (heap_of(m) && o->state != GONE)
        heap_drop(m, o);
}

EXPORT void kobox_heap_set_canary(struct machine *m, struct object *o) { set_canary(m, o); }
EXPORT uint64_t kobox_heap_overrun(struct machine *m, const struct object *o) { return overrun(m, o); }
EXPORT uint64_t kobox_heap_roomy(struct machine *m, uint64_t size) { return heap_of(m) ? heap_roomy(m->watch->heap, size) : size; }
EXPORT uint64_t kobox_heap_held(struct machine *m) { return heap_of(m) ? m->watch->heap->held : 0; }
