/*
 * Where software says of changed code, by CP15's cache operations (Arm ARM for ARMv7-A, B4.2.1): Unicorn has no hook for them, and
 * its translations do not follow every change. So a hook is put on each such instruction of the kernel's when its block is
 * translated.
 *
 *     mcr p15, 0, Rt, c7, c5, 1     ICIMVAU: the line at this address; its page is translated anew
 *     mcr p15, 0, Rt, c7, c5, 0     ICIALLU, and c7, c1, 0 ICIALLUIS: the kernel says so when a page of code becomes a program's;
 *                                   those that programs' code was translated from are compared with what they were
 */
#include "cpu.h"

/* A block was translated. Whether it has to be translated again, with hooks on such instructions in it. */
bool meet_fence(struct machine *m, uint64_t pc, uint64_t size)
{
    bool any = false;
    if (in_user_mode(m) || pc & 3)
        return false;
    for (uint64_t at = pc; at + 4 <= pc + size; at += 4) {
        uint32_t operation = code_at(m, at) & CACHE_OPERATION;
        if (operation != INVALIDATE_LINE && operation != INVALIDATE_ALL && operation != INVALIDATE_ALL_CPUS)
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
