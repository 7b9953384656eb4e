/* The page tables: 4 KiB pages, 48-bit addresses (Arm ARM, "The AArch64 Virtual Memory System Architecture"). */
#include "cpu.h"

#define VALID 1ull
#define NOT_BLOCK 2ull      /* of a table, or of a page at the last level */
#define READ_ONLY (1ull << 7)
#define NO_EXECUTE (1ull << 53) /* PXN: by the kernel */
#define MAY_WRITE (1ull << 51) /* DBM: writable, and not written yet (PTE_WRITE, arch/arm64/include/asm/pgtable-hwdef.h) */

/* The last descriptor for `va`, or NULL: what it maps as a power of two, and whether it allows writing. */
const uint8_t *page_entry(const struct machine *m, uint64_t space, uint64_t va, int *shift, bool *writable)
{
    uint64_t table = va >> 55 & 1 ? live64(m, AT_TTBR1 + EL1) & TABLE : space;
    for (*shift = 39; *shift >= 12; *shift -= 9) {
        uint64_t slot = table + (va >> *shift & 511) * 8, entry;
        if (slot + 8 > m->ram_size)
            return NULL;
        memcpy(&entry, m->ram + slot, 8);
        if (!(entry & VALID))
            return NULL;
        *writable = !(entry & READ_ONLY) || entry & MAY_WRITE;
        if (*shift == 12 || !(entry & NOT_BLOCK))
            return m->ram + slot;
        table = entry & TABLE;
    }
    return NULL;
}

/* Physical address of `va`, or -1; `space` is the table of the lower half. For WRITE its descriptor must allow it. */
uint64_t walk(const struct machine *m, uint64_t space, uint64_t va, enum access access)
{
    if (!(live64(m, AT_SCTLR + EL1) & SCTLR_M))
        return va;
    int shift;
    bool writable;
    uint64_t entry;
    const uint8_t *at = page_entry(m, space, va, &shift, &writable);
    if (!at || (access == WRITE && !writable))
        return -1;
    memcpy(&entry, at, 8);
    if (access == EXECUTE && entry & NO_EXECUTE)
        return -1;
    uint64_t mask = (1ull << shift) - 1;
    return (entry & TABLE & ~mask) | (va & mask);
}
