/*
 * The page tables: short descriptors (Arm ARM for ARMv7-A, B3.5), one table for both halves, TTBCR.N being 0.
 *
 * Each program's table has copies of the kernel's entries, which are made when they are first missed: what is not there yet is in
 * the kernel's own, to which TTBR1 points.
 */
#include "cpu.h"

enum { TABLE = 1, SECTION = 2, SUPERSECTION = 1 << 18 };
enum { SECTION_READ_ONLY = 1 << 15, SECTION_NO_EXECUTE = 1 << 4, PAGE_READ_ONLY = 1 << 9, PAGE_NO_EXECUTE = 1, SMALL_PAGE = 2 };
/* Linux keeps what the hardware has no bits for in a table of its own, in front of each (arch/arm/include/asm/pgtable-2level.h). */
enum { HARDWARE_TABLE = 2048, LINUX_READ_ONLY = 1 << 7 };

static uint32_t word_at(const struct machine *m, uint64_t at)
{
    uint32_t word = 0;
    if (at + 4 <= m->ram_size)
        memcpy(&word, m->ram + at, 4);
    return word;
}

/* The same entry says so of a page that was not written yet: the kernel is told by a fault when it is. */
static bool may_write_page(const struct machine *m, uint64_t slot, uint32_t entry)
{
    if (!(entry & PAGE_READ_ONLY))
        return true;
    uint32_t own = slot & HARDWARE_TABLE ? word_at(m, slot - HARDWARE_TABLE) : 0;
    return own && !(own & LINUX_READ_ONLY);
}

static uint64_t walk_table(const struct machine *m, uint32_t first, uint32_t va, enum access access)
{
    if ((first & 3) == TABLE) {
        uint64_t slot = (first & 0xFFFFFC00) + (va >> 12 & 255) * 4ull;
        uint32_t entry = word_at(m, slot);
        if (!(entry & 3) || (access == WRITE && !may_write_page(m, slot, entry)))
            return -1;
        if (entry & SMALL_PAGE)
            return access == EXECUTE && entry & PAGE_NO_EXECUTE ? (uint64_t)-1 : (entry & 0xFFFFF000) | (va & 0xFFF);
        return access == EXECUTE && entry & 1 << 15 ? (uint64_t)-1 : (entry & 0xFFFF0000) | (va & 0xFFFF);
    }
    if (!(first & SECTION) || (access == WRITE && first & SECTION_READ_ONLY) || (access == EXECUTE && first & SECTION_NO_EXECUTE))
        return -1;
    return first & SUPERSECTION ? (first & 0xFF000000) | (va & 0xFFFFFF) : (first & 0xFFF00000) | (va & 0xFFFFF);
}

/* Physical address of `va`, or -1; `space` is the table. For WRITE its entry must allow it. */
uint64_t walk(const struct machine *m, uint64_t space, uint64_t va, enum access access)
{
    if (va >> 32)
        return -1;
    if (!(live32(m, AT_SCTLR) & SCTLR_M))
        return va;
    uint32_t first = word_at(m, space + (va >> 20) * 4);
    if (!(first & 3) && is_kernel_address(va))
        first = word_at(m, (live32(m, AT_TTBR1) & 0xFFFFC000) + (va >> 20) * 4);
    return walk_table(m, first, (uint32_t)va, access);
}
