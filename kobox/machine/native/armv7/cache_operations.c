/* What software says of changed code, by CP15's cache operations, when such an instruction is executed (code_changes.c). */
#include "cpu.h"

uint32_t code_at(const struct machine *m, uint64_t at)
{
    uint32_t word = 0;
    uint64_t pa = walk(m, address_space(m), at, READ);
    if (pa < m->ram_size && m->ram_size - pa >= 4)
        memcpy(&word, m->ram + pa, 4);
    return word;
}

void reach_fence(struct machine *m, uint64_t pc)
{
    uint32_t word = code_at(m, pc);
    if ((word & CACHE_OPERATION) != INVALIDATE_LINE) {
        m->fenced = true;
        kick(m);
        return;
    }
    uint64_t page = walk(m, address_space(m), live_reg(m, word >> 12 & 15), READ) / PAGE;
    if (page >= m->ram_size / PAGE || !bit_of(m->code_pages, page))
        return;
    drop_code_page(m, page);
    kick(m);
}
