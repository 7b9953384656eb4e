/* Who still points to an object: how memory that nobody can free any more is told from memory that somebody holds. */
#include "watch.h"

/*
 * Where `struct page` tells whether a page is in use (include/linux/mm_types.h, page-flags.h). A tail page of a compound one
 * has bit 0 of its head set: with a pointer to the first, or, in newer kernels, with a mask that leads there. `direct` is
 * where the kernel's mapping of all RAM begins.
 */
struct pages_at { uint64_t start, size, refcount, type, head, direct; };

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

/* The last of `count` objects (sorted) that an address lies in; `count` when it lies in none. */
static size_t object_at(const uint64_t *starts, const uint64_t *ends, size_t count, uint64_t address)
{
    size_t a = 0, b = count;
    while (a < b) {
        size_t middle = (a + b) / 2;
        if (starts[middle] <= address)
            a = middle + 1;
        else
            b = middle;
    }
    return a && address < ends[a - 1] ? a - 1 : count;
}

/* Words in one of the objects that point into another: who holds whom, if anybody holds the first. */
enum { MOST_LINKS = 1 << 16 };
struct links { uint32_t (*rows)[2]; size_t count; };

static bool add_link(struct links *links, size_t from, size_t to)
{
    if (!links->rows || links->count == MOST_LINKS)
        return false;
    links->rows[links->count][0] = from;
    links->rows[links->count++][1] = to;
    return true;
}

static void follow_links(const struct links *links, uint8_t *out)
{
    for (bool changed = true; changed;) {
        changed = false;
        for (size_t i = 0; i < links->count; i++)
            if (out[links->rows[i][0]] && !out[links->rows[i][1]]) {
                out[links->rows[i][1]] = 1;
                changed = true;
            }
    }
}

/*
 * How many words of RAM point into each of `count` objects (sorted): in `out[i]`, 255 at most. `ends` are where the objects end. Free
 * pages, freed objects and the stretches `skipped` (physical pages, `skips` of them) hold nothing but leftovers. An object
 * that only itself points to, or another to which nobody points, is held by nobody (a list head points to itself).
 * This is how memory that nobody can free any more is told from memory that somebody still holds.
 */
EXPORT void kobox_watch_referenced(struct machine *m, const uint64_t *starts, const uint64_t *ends, size_t count, uint8_t *out,
                                   const struct pages_at *pages, const uint64_t *skipped, size_t skips)
{
    if (!count)
        return;
    uint64_t low = starts[0], high = ends[count - 1];
    struct links links = { malloc(MOST_LINKS * sizeof *links.rows), 0 };
    for (uint64_t page = 0; page < m->ram_size / PAGE; page++) {
        bool checked = false;
        for (uint64_t at = page * PAGE; at < (page + 1) * PAGE; at += 8) {
            uint64_t word;
            memcpy(&word, m->ram + at, 8);
            if (word < low || word >= high)
                continue;
            size_t to = object_at(starts, ends, count, word);
            if (to == count || m->watch->shadow[at] & FORBIDDEN)
                continue;
            bool skip = !checked && !in_use(m, pages, page);
            for (size_t i = 0; !checked && !skip && i < skips; i++)
                skip = skipped[i] == page;
            if (skip)
                break;
            checked = true;
            size_t from = object_at(starts, ends, count, pages->direct + at);
            if (from == to || (from < count && add_link(&links, from, to)))
                continue;
            out[to] += out[to] < 255;
        }
    }
    follow_links(&links, out);
    free(links.rows);
}
