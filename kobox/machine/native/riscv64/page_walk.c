/* The page tables: Sv39, Sv48 and Sv57 (RISC-V Privileged Architecture, "Sv39"). */
#include "cpu.h"

enum { VALID = 1, LEAF = 2 | 4 | 8, MAY_WRITE = 4, MAY_EXECUTE = 8 };
enum { SV39 = 8 };

/* Physical address of `va`, or -1; `space` is the root table. For WRITE its entry must allow it. */
uint64_t walk(const struct machine *m, uint64_t space, uint64_t va, enum access access)
{
    uint64_t mode = live64(m, AT_SATP) >> 60, table = space, entry;
    if (!mode || live64(m, AT_PRIV) == MACHINE_MODE)
        return va;
    for (int shift = 30 + 9 * ((int)mode - SV39); shift >= 12; shift -= 9) {
        uint64_t slot = table + (va >> shift & 511) * 8;
        if (slot + 8 > m->ram_size)
            return -1;
        memcpy(&entry, m->ram + slot, 8);
        if (!(entry & VALID))
            return -1;
        uint64_t pa = (entry >> 10 & 0xFFFFFFFFFFF) << 12, mask = (1ull << shift) - 1;
        if (entry & LEAF)
            return (access == WRITE && !(entry & MAY_WRITE)) || (access == EXECUTE && !(entry & MAY_EXECUTE)) ? (uint64_t)-1
                                                                                                              : (pa & ~mask) | (va & mask);
        table = pa;
    }
    return -1;
}
