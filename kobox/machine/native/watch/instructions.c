/* The hook on watched code: what one instruction is about to do to memory. */
#include "watch.h"

static void look_at_string(struct machine *m, struct insn *i, uint64_t pc)
{
    struct watch *w = m->watch;
    struct string s = string_operands(m, i);
    uint64_t count = s.count;
    bool going_on = i->flags & INSN_REP && w->repeat_pc == pc && count < w->repeat_count;
    w->repeat_pc = pc;
    w->repeat_count = count;
    if (going_on || !count || i->extra == 0xA6 || i->extra == 0xAE) /* comparisons end when they want */
        return;
    uint64_t to = s.to, from = s.from, size = no_more_than_ram(m, count) * i->size;
    bool reads = i->extra == 0xA4 || i->extra == 0xAC || i->extra == 0x6E;
    bool writes = i->extra == 0xA4 || i->extra == 0xAA || i->extra == 0x6C;
    bool good = true;
    if (reads && (from >> 63 || !(i->flags & INSN_TRUSTED)))
        good = look(m, pc, from, size, INSN_READ, writes && !(to >> 63));
    if (writes && good && (to >> 63 || !(i->flags & INSN_TRUSTED)))
        look(m, pc, to, size, INSN_WRITE, false);
    if (w->trusting) {
        i->flags |= INSN_TRUSTED;
        w->trusting = false;
    }
}

/* Where an OP_MEMORY or OP_BIT reads or writes. */
static uint64_t accessed(const struct machine *m, const struct insn *i, uint64_t pc)
{
    uint64_t address = operand(m, i, pc);
    if (i->op == OP_BIT) {
        int64_t bit = (int64_t)live_reg(m, i->extra);
        bit = i->size == 8 ? bit : i->size == 4 ? (int32_t)bit : (int16_t)bit;
        address += (uint64_t)((bit >> (i->size == 8 ? 6 : i->size == 4 ? 5 : 4)) * i->size);
    }
    return address;
}

/* Whether a call or jump leads out of watched code: what the kernel does there is taken to empty the store buffer. */
static bool leaves_module(struct machine *m, const struct insn *i, uint64_t pc)
{
    if (i->op != OP_CALL && i->op != OP_JUMP)
        return false;
    return i->base != NO_REG || !range_of(m->watch, pc + i->length + (uint64_t)(int64_t)i->disp);
}

/* True: this CPU is held before the instruction. */
static bool look_for_race(struct machine *m, const struct insn *i, uint64_t pc)
{
    uint8_t code[DECODE_BYTES] = {0};
    bool read = copy_virtual(m, address_space(m), pc, code, i->length, false), atomic = read && is_atomic(code);
    if (race_step(m, pc, atomic || (read && is_fence(code)) || leaves_module(m, i, pc)))
        return true;
    if (i->op == OP_STRING) {
        struct string s = string_operands(m, i);
        uint64_t size = no_more_than_ram(m, s.count) * i->size;
        bool reads = i->extra == 0xA4 || i->extra == 0xAC, writes = i->extra == 0xA4 || i->extra == 0xAA;
        return (reads && race_access(m, pc, s.from, size, INSN_READ)) || (writes && race_access(m, pc, s.to, size, INSN_WRITE));
    }
    if (i->op == OP_CALL) /* a place to hold the CPU at; no access */
        return race_access(m, pc, pc, 1, ACCESS_CALLED);
    if ((i->op != OP_MEMORY && i->op != OP_BIT) || i->flags & INSN_GS || !(i->flags & 3))
        return false;
    return race_access(m, pc, accessed(m, i, pc), i->size, (i->flags & 3u) | (atomic ? ACCESS_ATOMIC : 0));
}

static void look_at_operand(struct machine *m, struct insn *i, uint64_t pc)
{
    struct watch *w = m->watch;
    uint64_t address = accessed(m, i, pc);
    if (i->bound & RELATIVE) {
        uint64_t start = live_reg(m, i->base) + (uint64_t)(int64_t)i->disp, limit = i->bound & ~RELATIVE;
        if (address - start + i->size > limit || address < start) {
            report_access(m, REPORT_LOCAL, pc, address, i->size, i->flags & 3, start);
            goto done;
        }
    } else if (i->bound) {
        const struct bound *b = &w->bounds[i->bound - 1];
        uint64_t at = as_known(m, b->start, address);
        if (at < b->start || at + i->size > b->end) {
            report_access(m, REPORT_BOUND, pc, at, i->size, i->flags & 3, i->bound - 1);
            goto done;
        }
    }
    if (i->base < NO_REG && w->pointing >> i->base & 1 && !stays_inside(m, i, pc, address))
        goto done;
    if (is_untracked(m, address, i->size))
        return;
    if (look(m, pc, address, i->size, i->flags & (INSN_READ | INSN_WRITE), false)) {
        if (i->value == VALUE_LOADED)
            look_at_loaded(m, i, address);
        if (i->of_flags == FLAGS_COMPARED && i->flags & INSN_READ)
            look_at_compared(m, i, pc, address);
    }
done:
    if (w->trusting) {
        i->op = OP_PLAIN;
        w->trusting = false;
    }
}

/* A stack that is deeper than allowed is told of, and again when it is half a KiB deeper. */
static void look_at_stack(struct machine *m, uint64_t pc, uint64_t sp)
{
    uint64_t depth = STACK_OF(sp) + 0x4000 - sp;
    if (!m->watch->stack_limit || depth <= m->watch->stack_limit)
        return;
    m->watch->stack_limit = depth + 512;
    report_access(m, REPORT_STACK, pc, sp, depth, 0, 0);
}

/* The stack grows by a frame of `size` bytes, which are unwritten. */
static void enter_frame(struct machine *m, uint64_t pc, int64_t size)
{
    uint64_t sp = live_sp(m);
    if (size > 0 && size < 8192)
        mark_memory(m, sp - (uint64_t)size, (uint64_t)size, UNWRITTEN, true);
    if (m->watch->storing_stack)
        forget_frame(m->watch, sp - 0x4000, sp);
    look_at_stack(m, pc, sp - (uint64_t)size);
}

static void leave_frame(struct machine *m, int64_t size)
{
    uint64_t sp = live_sp(m);
    if (size > 0 && size < 8192)
        mark_memory(m, sp, (uint64_t)size, UNKNOWN, false);
    if (m->watch->storing_stack)
        forget_frame(m->watch, sp, sp + (uint64_t)size);
}

/* A load or store has changed its base as well. */
static void step_base(struct machine *m, const struct insn *i)
{
    if (i->base != R_SP)
        step_pointer(m, i->base, i->step);
    else if (i->step > 0)
        leave_frame(m, i->step);
}

/* The objects that relocations or the stack's layout say that an instruction, met for the first time, points into. */
static void find_bounds(struct machine *m, struct insn *i, uint64_t pc)
{
    struct watch *w = m->watch;
    if (i->op == OP_MEMORY && (i->base != NO_REG || i->index != NO_REG))
        i->bound = bound_at(w, address_field(i, pc));
    else if (i->op == OP_BIT) /* nothing follows its displacement */
        i->bound = bound_at(w, pc + i->length - 4);
    if (i->value == VALUE_STORED)
        i->target = bound_at(w, constant_field(i, pc));
    else if (i->pointer >= POINTER_MADE)
        i->target = bound_at(w, address_field(i, pc));
    if ((i->base == R_SP || i->base == R_FRAME) && (i->op == OP_BIT || (i->op == OP_MEMORY && i->index != NO_REG))) {
        uint64_t room = stack_room(m, pc, live_reg(m, i->base) + (uint64_t)(int64_t)i->disp, true);
        i->bound = room > 8 ? RELATIVE | (uint32_t)room : i->bound;
    }
}

void on_instruction(uc_engine *uc, uint64_t pc, uint32_t size, void *user)
{
    struct machine *m = user;
    struct watch *w = m->watch;
    struct range *r = range_of(w, pc);
    if (!r)
        return;
    struct insn *i = &r->insns[pc - r->start];
    w->executed++;
    if (!(i->flags & INSN_SEEN)) {
        uint8_t code[DECODE_BYTES] = {0};
        if (!size || size > 15 || !copy_virtual(m, address_space(m), pc, code, size, false))
            return;
        *i = decode_instruction(code, (uint8_t)size);
        i->flags |= INSN_SEEN;
        find_bounds(m, i, pc);
    }
    if (w->race && race_watches(m) && look_for_race(m, i, pc))
        return;
    if (w->pointing | w->unwritten) {
        if (STACK_OF(live_sp(m)) != w->pointing_stack)
            w->pointing = w->unwritten = 0;
        if (w->called)
            w->unwritten &= ~CALLER_SAVED;
        w->called = false;
    }
    if (w->recalled[0].waits | w->recalled[1].waits)
        take_recalled(m);
    if (w->compared_pc && i->of_flags != FLAGS_KEPT)
        look_at_decision(m, i);
    if (i->compared & w->unwritten)
        look_at_registers(m, i, pc);
    if (i->step < 0 && i->base == R_SP)
        enter_frame(m, pc, -i->step);
    switch (i->op) {
    case OP_MEMORY:
    case OP_BIT:
        look_at_operand(m, i, pc);
        break;
    case OP_STRING:
        look_at_string(m, i, pc);
        break;
    case OP_ENTER:
        enter_frame(m, pc, i->disp);
        break;
    case OP_LEAVE:
        leave_frame(m, i->disp);
        break;
    case OP_JUMP:
        w->tail_target = i->base == NO_REG ? pc + i->length + (uint64_t)(int64_t)i->disp : live_reg(m, i->base);
        for (int n = 0; n < w->thunk_count; n++)
            if (w->thunks[n].address == w->tail_target) {
                w->tail_target = live_reg(m, w->thunks[n].reg);
                break;
            }
        w->tail_pc = pc;
        if (w->pointing && !range_of(w, w->tail_target)) /* out of the module: what comes back is another call's */
            w->pointing &= ~CALLER_SAVED;
        break;
    case OP_USER:
        if (i->flags & INSN_WRITE && w->unwritten)
            look_at_shown(m, pc, i->source, i->size);
        break;
    default:
        break;
    }
    if (w->unwritten | w->fresh)
        follow_values(w, i);
    if (i->pointer)
        follow(m, i, pc);
    else if (i->kills)
        w->pointing &= ~i->kills;
    if (i->value >= VALUE_LOADED && (w->storing || w->pointing || i->target))
        follow_memory(m, i, pc);
    if (i->step)
        step_base(m, i);
    if (w->executed == w->stop_at) {
        m->event = EV_STOPPED;
        m->api.emu_stop(uc);
    }
}
