/* The page tables of four levels (Intel SDM volume 3, "4-level paging"). */
#include "cpu.h"

/* The last entry of the page tables for `va`, or NULL: what it maps as a power of two, and whether every level allows writing. */
const uint8_t *page_entry(const struct machine *m, uint64_t cr3, uint64_t va, int *shift, bool *writable)
{
    uint64_t table = cr3 & PTE_ADDRESS;
    *writable = true;
    for (*shift = 39; *shift >= 12; *shift -= 9) {
        uint64_t slot = table + (va >> *shift & 511) * 8, entry;
        if (slot + 8 > m->ram_size)
            return NULL;
        memcpy(&entry, m->ram + slot, 8);
        if (!(entry & PTE_P))
            return NULL;
        *writable &= !!(entry & PTE_W);
        if (*shift == 12 || (*shift < 39 && entry & PTE_PS))
            return m->ram + slot;
        table = entry & PTE_ADDRESS;
    }
    return NULL;
}

#define NO_EXECUTE (1ull << 63) /* of the last entry: the kernel sets it in no other */

/* Physical address of `va`, or -1. For WRITE every level must allow it; for WRITTEN the CPU must have done so before. */
uint64_t walk(const struct machine *m, uint64_t cr3, uint64_t va, enum access access)
{
    int shift;
    bool writable;
    uint64_t entry;
    const uint8_t *at = page_entry(m, cr3, va, &shift, &writable);
    if (!at || (access != READ && access != EXECUTE && !writable))
        return -1;
    memcpy(&entry, at, 8);
    if ((access == WRITTEN && !(entry & PTE_D)) || (access == EXECUTE && entry & NO_EXECUTE))
        return -1;
    uint64_t mask = (1ull << shift) - 1;
    return (entry & PTE_ADDRESS & ~mask) | (va & mask);
}

bool copy_virtual(struct machine *m, uint64_t cr3, uint64_t va, void *data, uint64_t n, bool write)
{
    uint8_t *at = data;
    while (n) {
        uint64_t chunk = PAGE - (va & (PAGE - 1));
        if (chunk > n)
            chunk = n;
        uint64_t pa = walk(m, cr3, va, write ? WRITE : READ);
        if (pa == (uint64_t)-1 || pa + chunk > m->ram_size)
            return false;
        if (write)
            memcpy(m->ram + pa, at, chunk);
        else
            memcpy(at, m->ram + pa, chunk);
        at += chunk, va += chunk, n -= chunk;
    }
    return true;
}
