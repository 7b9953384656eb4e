/*
 * FENCE.I: software says that code has changed, but not which. Unicorn has no hook for it, and its translations do not follow every
 * change; but the instruction ends a block. So a block that ends with one has a mark like a probe's, and once it was executed, the
 * pages that code was translated from are compared with what they were, and those that differ are translated anew.
 */
#include "cpu.h"

#define FENCE_I 0x100Fu
#define FENCE_I_MASK 0x707Fu

/* A block was translated. It need not be translated again: it is its beginning that has the mark. */
bool meet_fence(struct machine *m, uint64_t pc, uint64_t size)
{
    uint32_t word;
    if (size < 4 || !copy_virtual(m, address_space(m), pc + size - 4, &word, 4, false) || (word & FENCE_I_MASK) != FENCE_I)
        return false;
    struct probe *p = find_probe(m, pc);
    if (!p)
        p = make_probe(m, pc, true);
    if (p)
        p->fences = true;
    else
        m->fences_lost = true; /* each stop of the CPU counts as one */
    return false;
}
