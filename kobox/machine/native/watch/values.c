/* Unwritten bytes: followed from memory through registers to where they are shown to user space. */
#include "watch.h"

/*
 * Whether all of these bytes are unwritten. A byte of the kernel's is the pattern's by chance: there must be SURE_RUN of
 * them round it.
 */
static bool nobody_wrote(struct machine *m, uint64_t address, uint64_t size)
{
    struct watch *w = m->watch;
    uint64_t pa = physical(m, address), page = pa & ~(PAGE - 1), start = pa, end = pa + size;
    if (pa >= NOT_RAM || end > page + PAGE || w->shadow[pa] != UNWRITTEN)
        return false;
    for (uint64_t at = start; at < end; at++)
        if (w->shadow[at] != UNWRITTEN || m->ram[at] != pattern(at))
            return false;
    while (start > page && end - start < SURE_RUN && w->shadow[start - 1] == UNWRITTEN && m->ram[start - 1] == pattern(start - 1))
        start--;
    while (end < page + PAGE && end - start < SURE_RUN && w->shadow[end] == UNWRITTEN && m->ram[end] == pattern(end))
        end++;
    return end - start >= SURE_RUN;
}

static void look_at_value(struct machine *m, unsigned reg, uint64_t address, uint64_t size)
{
    struct watch *w = m->watch;
    if (reg == NO_REG || !nobody_wrote(m, address, size))
        return;
    w->fresh |= 1u << reg;
    w->loaded[reg].address = address;
    w->loaded[reg].size = size;
    w->pointing_stack = STACK_OF(live_sp(m));
}

/* Registers get what memory holds. If that is unwritten, it may yet be shown to user space (put_user()). */
void look_at_loaded(struct machine *m, const struct insn *i, uint64_t address)
{
    uint64_t size = i->second == NO_REG ? i->size : i->size / 2;
    look_at_value(m, i->dest, address, size);
    look_at_value(m, i->second, address + size, size);
}

/* What memory holds is compared: if it is unwritten, a conditional jump by the result decides by chance. */
void look_at_compared(struct machine *m, const struct insn *i, uint64_t pc, uint64_t address)
{
    struct watch *w = m->watch;
    if (!nobody_wrote(m, address, i->size))
        return;
    w->compared_pc = pc;
    w->compared_address = address;
    w->compared_size = i->size;
    w->compared_stack = STACK_OF(live_sp(m));
}

/* Registers are compared, or a jump follows one of them: if it holds unwritten bytes, that is by chance. */
void look_at_registers(struct machine *m, const struct insn *i, uint64_t pc)
{
    struct watch *w = m->watch;
    unsigned reg = (unsigned)__builtin_ctz(i->compared & w->unwritten);
    uint64_t address = w->loaded[reg].address, size = w->loaded[reg].size;
    if (i->of_flags == FLAGS_JUMP) {
        if (i->extra < 8 * size)
            report_access(m, REPORT_UNINITIALISED, pc, address, size, INSN_READ, 1);
        w->trusting = false;
        return;
    }
    w->compared_pc = pc;
    w->compared_address = address;
    w->compared_size = size;
    w->compared_stack = STACK_OF(live_sp(m));
}

/* The first instruction behind a comparison that does not leave the flags alone. */
void look_at_decision(struct machine *m, const struct insn *i)
{
    struct watch *w = m->watch;
    uint64_t pc = w->compared_pc;
    w->compared_pc = 0;
    if (i->of_flags == FLAGS_JUMP && w->compared_stack == STACK_OF(live_sp(m)))
        report_access(m, REPORT_UNINITIALISED, pc, w->compared_address, w->compared_size, INSN_READ, 1);
    w->trusting = false;
}

/* Which registers hold unwritten bytes after an instruction. What was calculated with one is not followed. */
void follow_values(struct watch *w, const struct insn *i)
{
    reg_set made = w->fresh, gone = i->kills;
    if (gone == CALLER_SAVED) { /* not before it has returned: it may be what shows the result */
        w->called = true;
        return;
    }
    if (i->value == VALUE_COPIED && w->unwritten >> i->source & 1) {
        made = (1u << i->dest);
        w->loaded[i->dest] = w->loaded[i->source];
    }
    if (i->pointer == POINTER_STEP || i->pointer == POINTER_MOVE)
        gone |= (1u << i->dest);
    w->unwritten = ((w->unwritten & ~gone) | made);
    w->fresh = 0;
}

/* What a register holds goes to user space: whether these are unwritten bytes. */
void look_at_shown(struct machine *m, uint64_t pc, unsigned reg, uint64_t size)
{
    struct watch *w = m->watch;
    if (reg == NO_REG || !(w->unwritten & 1u << reg) || STACK_OF(live_sp(m)) != w->pointing_stack)
        return;
    size = size < w->loaded[reg].size ? size : w->loaded[reg].size;
    report_access(m, REPORT_UNINITIALISED, pc, w->loaded[reg].address, size, INSN_READ, 0);
    w->trusting = false;
}
