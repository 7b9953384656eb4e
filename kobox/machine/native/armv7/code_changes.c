/*
 * What software says of changed code, by CP15's cache operations (Arm ARM for ARMv7-A, B4.2.1): Unicorn has no hook for them, and
 * its translations do not follow every change. So a hook is put on each such instruction of the kernel's when its block is
 * translated.
 *
 *     mcr p15, 0, Rt, c7, c5, 1     ICIMVAU: the line at this address; its page is translated anew
 *     mcr p15, 0, Rt, c7, c5, 0     ICIALLU, and c7, c1, 0 ICIALLUIS: the kernel says so when a page of code becomes a program's;
 *                                   those that programs' code was translated from are compared with what they were
 */
#include "cpu.h"

enum { ONE_LINE = 0x0E070F35, ALL = 0x0E070F15, ALL_CPUS = 0x0E070F11, OPERATION = 0x0FFF0FFF };

static uint32_t code_at(const struct machine *m, uint64_t at)
{
    uint32_t word = 0;
    uint64_t pa = walk(m, address_space(m), at, READ);
    if (pa < m->ram_size && m->ram_size - pa >= 4)
        memcpy(&word, m->ram + pa, 4);
    return word;
}

/* A block was translated. Whether it has to be translated again, with hooks on such instructions in it. */
bool meet_fence(struct machine *m, uint64_t pc, uint64_t size)
{
    bool any = false;
    if (in_user_mode(m) || pc & 3)
        return false;
    for (uint64_t at = pc; at + 4 <= pc + size; at += 4) {
        uint32_t operation = code_at(m, at) & OPERATION;
        if (operation != ONE_LINE && operation != ALL && operation != ALL_CPUS)
            continue;
        bool before = m->in_callback;
        m->in_callback = true; /* the CPU is at work on a translation */
        struct probe *p = find_probe(m, at);
        any |= !p || !p->hooked;
        p = make_probe(m, at, false);
        m->in_callback = before;
        if (p)
            p->fences = true;
        else
            m->fences_lost = true; /* all code counts as changed, at each stop of the CPU */
    }
    return any;
}

void reach_fence(struct machine *m, uint64_t pc)
{
    uint32_t word = code_at(m, pc);
    if ((word & OPERATION) != ONE_LINE) {
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
