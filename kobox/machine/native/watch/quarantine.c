/* Quarantine: freed objects are filled with FREED_BYTE and must stay so. */
#include "heap.h"

#define FREED_BYTE 0x6b /* POISON_FREE, include/linux/poison.h: as a pointer it leads nowhere */

/* A freed object is kept from now on: it is filled with FREED_BYTE, and whoever writes there is found out. */
bool keep_filled(struct machine *m, uint64_t address, uint64_t size)
{
    struct watch *w = m->watch;
    if (w->kept_count == MAX_KEPT)
        return true;
    w->kept[w->kept_count++] = (struct kept){address, size};
    for (uint64_t at = address, piece; at < address + size; at += piece) {
        uint64_t pa = physical(m, at), rest = address + size - at;
        piece = PAGE - (at & (PAGE - 1));
        piece = piece < rest ? piece : rest;
        if (pa < NOT_RAM)
            memset(m->ram + pa, FREED_BYTE, piece);
    }
    return false;
}

/* It is kept no longer. */
void keep_no_more(struct machine *m, uint64_t address)
{
    struct watch *w = m->watch;
    for (size_t i = 0; i < w->kept_count; i++) {
        if (w->kept[i].address != address)
            continue;
        memmove(w->kept + i, w->kept + i + 1, (--w->kept_count - i) * sizeof *w->kept);
        return;
    }
}

/* From which byte to which a kept object was changed; false: it is as it was filled. */
static bool find_change(struct machine *m, const struct kept *k, uint64_t *from, uint64_t *to)
{
    bool found = false;
    for (uint64_t at = 0, piece; at < k->size; at += piece) {
        uint64_t va = k->address + at, pa = physical(m, va), rest = k->size - at;
        piece = PAGE - (va & (PAGE - 1));
        piece = piece < rest ? piece : rest;
        const uint8_t *ram = m->ram + pa;
        if (pa >= NOT_RAM || (ram[0] == FREED_BYTE && !memcmp(ram, ram + 1, piece - 1)))
            continue;
        for (uint64_t i = 0; i < piece; i++)
            if (ram[i] != FREED_BYTE) {
                *from = found ? *from : at + i;
                *to = at + i + 1;
                found = true;
            }
    }
    return found;
}

/* The youngest kept object that was changed, of those that make up `budget` bytes: its address, from, to; else false. */
bool find_corrupted(struct machine *m, uint64_t budget, uint64_t *out)
{
    const struct watch *w = m->watch;
    for (size_t i = w->kept_count; i-- && w->kept[i].size <= budget; budget -= w->kept[i].size)
        if (find_change(m, &w->kept[i], &out[1], &out[2])) {
            out[0] = w->kept[i].address;
            return true;
        }
    return false;
}

EXPORT void kobox_watch_unquarantine(struct machine *m, uint64_t address)
{
    if (m->watch)
        keep_no_more(m, address);
}

EXPORT int kobox_watch_find_corrupted(struct machine *m, uint64_t budget, uint64_t *out)
{
    return m->watch && find_corrupted(m, budget, out);
}
