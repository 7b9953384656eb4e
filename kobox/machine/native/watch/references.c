/* Who still points to an object: how memory that nobody can free any more is told from memory that somebody holds. */
#include "watch.h"

/*
 * Where `struct page` tells whether a page is in use (include/linux/mm_types.h, page-flags.h). A tail page of a compound one
 * has bit 0 of its head set: with a pointer to the first, or, in newer kernels, with a mask that leads there.
 */
struct pages_at { uint64_t start, size, refcount, type, head; };

static bool in_use(struct machine *m, const struct pages_at *at, uint64_t page)
{
    uint64_t head = 0, place = at->start + page * at->size, space = address_space(m);
    int32_t count = 1;
    uint32_t type = 0;
    copy_virtual(m, space, place + at->head, &head, 8, false);
    if (head & 1)
        place = head - at->start < m->ram_size / PAGE * at->size ? head - 1 : place & head & ~1ull;
    if (!copy_virtual(m, space, place + at->refcount, &count, 4, false) || count > 0)
        return true;
    if (!copy_virtual(m, space, place + at->type, &type, 4, false))
        return true;
    bool buddy = type >> 24 == 0xF0 || type == 0xFFFFFF7F; /* PGTY_buddy; PG_buddy, before it had types */
    return type != ~0u && !buddy; /* slab pages need not be counted */
}

/*
 * How many words of RAM point into each of `count` objects (sorted): in `out[i]`, 255 at most. `ends` are where the objects end. Free
 * pages, freed objects and the stretches `skipped` (physical pages, `skips` of them) hold nothing but leftovers. This
 * is how memory that nobody can free any more is told from memory that somebody still holds.
 */
EXPORT void kobox_watch_referenced(struct machine *m, const uint64_t *starts, const uint64_t *ends, size_t count, uint8_t *out,
                                   const struct pages_at *pages, const uint64_t *skipped, size_t skips)
{
    if (!count)
        return;
    uint64_t low = starts[0], high = ends[count - 1];
    for (uint64_t page = 0; page < m->ram_size / PAGE; page++) {
        bool checked = false;
        for (uint64_t at = page * PAGE; at < (page + 1) * PAGE; at += 8) {
            uint64_t word;
            memcpy(&word, m->ram + at, 8);
            if (word < low || word >= high)
                continue;
            size_t a = 0, b = count;
            while (a < b) {
                size_t middle = (a + b) / 2;
                if (starts[middle] <= word)
                    a = middle + 1;
                else
                    b = middle;
            }
            if (!a || word >= ends[a - 1] || m->watch->shadow[at] & FORBIDDEN)
                continue;
            bool skip = !checked && !in_use(m, pages, page);
            for (size_t i = 0; !checked && !skip && i < skips; i++)
                skip = skipped[i] == page;
            if (skip)
                break;
            checked = true;
            out[a - 1] += out[a - 1] < 255;
        }
    }
}
