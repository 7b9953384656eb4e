/* Pointers into variables: what a register points into, as long as only additions change it, is followed through registers and
 * memory, and what it leads to must lie in that variable. */
#include "watch.h"

/*
 * How many bytes there are from an address on the stack to the end of the variable that it points into, as the code at `pc`
 * sees it; 0: not known. With `whole`, only if it points to its start. Python knows it by DWARF, and is asked once for each
 * place.
 */
uint64_t stack_room(struct machine *m, uint64_t pc, uint64_t address, bool whole)
{
    uint64_t offset = address - live_sp(m);
    if (offset >= 0x4000)
        return 0;
    struct room *r = &m->watch->rooms[(pc ^ offset >> 3) % ROOMS];
    if (r->pc != pc || r->offset != offset) {
        int limit = report_access(m, ASK_LOCAL, pc, address, whole, 0, 0);
        m->watch->trusting = false;
        *r = (struct room){pc, offset, limit > 0 ? (uint64_t)limit : 0};
    }
    return r->limit;
}

/* The object that the field at `site` was relocated to, when one was set for it: 1 + its number. */
uint32_t bound_at(const struct watch *w, uint64_t site)
{
    size_t low = 0, high = w->bound_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (w->bounds[middle].site < site)
            low = middle + 1;
        else
            high = middle;
    }
    return low < w->bound_count && w->bounds[low].site == site ? (uint32_t)low + 1 : 0;
}

/* A register is moved by a number that the program holds. */
void step_pointer(struct machine *m, unsigned reg, int64_t step)
{
    struct watch *w = m->watch;
    reg_set bit = 1u << reg;
    if (!(w->pointing & bit))
        return;
    const struct pointer *p = &w->pointers[reg];
    uint64_t next = as_known(m, p->start, live_reg(m, reg) + (uint64_t)step), size = p->end - p->start;
    bool known = w->moved & bit || (next >= p->start && next <= p->end);
    if (!known || (uint64_t)(step < 0 ? -step : step) >= size)
        w->pointing &= ~bit;
}

/*
 * A register was made to point to the start of a variable: as long as only additions change it, what it leads to must lie in
 * that variable. Steps of a constant may be the compiler's way to another variable: after one that leaves it, or is
 * as large as all of it, nothing is known.
 */
void follow(struct machine *m, const struct insn *i, uint64_t pc)
{
    struct watch *w = m->watch;
    struct pointer made = {0, 0};
    reg_set dest = (1u << i->dest), source = i->source < NO_REG ? (1u << i->source) : 0;
    bool moved = false;
    switch (i->pointer) {
    case POINTER_COPY:
        if (w->pointing & source)
            made = w->pointers[i->source], moved = w->moved & source;
        else if (i->source == R_SP && i->dest != R_FRAME) { /* the variable that lies at the end of the stack */
            uint64_t at = live_sp(m), room = stack_room(m, pc, at, true);
            made = room > 8 ? (struct pointer){at, at + room} : made;
        }
        break;
    case POINTER_STEP:
        if (!i->target) {
            step_pointer(m, i->dest, i->disp);
            return;
        }
        made = (struct pointer){w->bounds[i->target - 1].start, w->bounds[i->target - 1].end};
        break;
    case POINTER_MOVE:
        if (w->pointing & dest && !(w->pointing & source))
            w->moved |= dest;
        else if (w->pointing & source && !(w->pointing & dest)) {
            w->pointers[i->dest] = w->pointers[i->source];
            w->pointing |= dest, w->moved |= dest;
        } else
            w->pointing &= ~dest;
        return;
    case POINTER_CONSTANT: {
        if (i->target)
            made = (struct pointer){w->bounds[i->target - 1].start, w->bounds[i->target - 1].end};
        break;
    }
    case POINTER_MADE: {
        bool by_base = i->base < NO_REG && w->pointing >> i->base & 1;
        unsigned from = !by_base && i->index < NO_REG && i->scale == 1 && w->pointing >> i->index & 1 ? i->index : i->base;
        uint64_t base = from < NO_REG ? live_reg(m, from) : 0, at = base + (uint64_t)(int64_t)i->disp;
        if (i->target)
            made = (struct pointer){w->bounds[i->target - 1].start, w->bounds[i->target - 1].end};
        else if (from == R_SP || (from == R_FRAME && !(w->pointing >> R_FRAME & 1))) {
            uint64_t room = stack_room(m, pc, at, true);
            if (room > 8)
                made = (struct pointer){at, at + room};
        } else if (from < NO_REG && w->pointing >> from & 1) {
            const struct pointer *p = &w->pointers[from];
            at = as_known(m, p->start, at);
            if (at >= p->start && at < p->end)
                made = *p, moved = w->moved >> from & 1;
        }
        moved |= made.end && i->index != NO_REG;
        break;
    }
    default:
        break;
    }
    w->pointing &= ~i->kills;
    w->moved &= ~i->kills;
    if (made.end) {
        w->pointers[i->dest] = made;
        w->pointing |= dest;
        w->pointing_stack = STACK_OF(live_sp(m));
        w->moved = moved ? w->moved | dest : w->moved & ~dest;
    }
}

static size_t place_of(uint64_t at) { return (at >> 3 ^ at >> 9 ^ at >> 15) % STORED; }

/* A pointer to a variable is stored in memory, or something else is where one was. */
static void remember(struct machine *m, const struct insn *i, uint64_t pc, unsigned source, uint64_t at)
{
    struct watch *w = m->watch;
    uint64_t value = 0, bit = 1ull << place_of(at);
    struct pointer constant = {0, 0}, *p = &constant;
    if (source < NO_REG && w->pointing >> source & 1) {
        p = &w->pointers[source];
        value = live_reg(m, source);
    } else if (i->target) {
        int32_t number = 0;
        copy_virtual(m, address_space(m), pc + i->length - 4, &number, 4, false);
        value = (uint64_t)(int64_t)number;
        constant = (struct pointer){w->bounds[i->target - 1].start, w->bounds[i->target - 1].end};
    }
    if (value && value >= p->start && value < p->end) {
        w->stored[place_of(at)].at = at;
        w->stored[place_of(at)].value = value;
        w->stored[place_of(at)].to = *p;
        w->storing |= bit;
        w->storing_stack &= ~bit;
        w->storing_stack |= STACK_OF(p->start) == STACK_OF(live_sp(m)) ? bit : 0;
    } else if (w->storing & bit && w->stored[place_of(at)].at == at) {
        w->storing &= ~bit, w->storing_stack &= ~bit;
    }
}

/* One is loaded again, if memory still holds it: whoever else may have written there, the kernel does so unseen. */
static void recall(struct machine *m, unsigned dest, uint64_t at, bool second)
{
    struct watch *w = m->watch;
    uint64_t value, pa;
    size_t n = place_of(at);
    if (dest == NO_REG || !(w->storing >> n & 1) || w->stored[n].at != at || (at & (PAGE - 1)) > PAGE - 8 ||
        (pa = physical(m, at)) >= NOT_RAM)
        return;
    memcpy(&value, m->ram + pa, 8);
    if (value != w->stored[n].value)
        return;
    w->recalled[second] = (struct recalled){value, STACK_OF(live_sp(m)), w->stored[n].to, (uint8_t)dest, true};
}

static void take_one(struct machine *m, struct recalled *r)
{
    struct watch *w = m->watch;
    bool waits = r->waits;
    r->waits = false;
    if (!waits || live_reg(m, r->dest) != r->value || STACK_OF(live_sp(m)) != r->stack)
        return;
    reg_set dest = 1u << r->dest;
    w->pointers[r->dest] = r->to;
    w->pointing |= dest;
    w->moved = r->value == r->to.start ? w->moved & ~dest : w->moved | dest;
    w->pointing_stack = r->stack;
}

/* The load that was looked at last has been executed, if the register holds what it loads: an instruction that a probe stops at
 * is looked at twice, and the first time its registers are still what they were. */
void take_recalled(struct machine *m)
{
    take_one(m, &m->watch->recalled[0]);
    take_one(m, &m->watch->recalled[1]);
}

/* Whole registers are stored in memory, or loaded from it. */
void follow_memory(struct machine *m, const struct insn *i, uint64_t pc)
{
    uint64_t at = operand(m, i, pc);
    bool pair = i->second != NO_REG;
    if (i->size != (pair ? 16 : 8))
        return;
    if (i->value == VALUE_STORED) {
        remember(m, i, pc, i->source, at);
        if (pair)
            remember(m, i, pc, i->second, at + 8);
    } else {
        recall(m, i->dest, at, false);
        recall(m, i->second, at + 8, true);
    }
}

/* A frame is made, or is left: what pointed into it points to nothing that has a name any more. */
void forget_frame(struct watch *w, uint64_t start, uint64_t end)
{
    for (uint64_t left = w->storing_stack; left; left &= left - 1) {
        const struct pointer *p = &w->stored[__builtin_ctzll(left)].to;
        if (p->start < end && start < p->end)
            w->storing &= ~(left & -left), w->storing_stack &= ~(left & -left);
    }
}

/* Whether an operand stays in the variable that its base points into. */
bool stays_inside(struct machine *m, const struct insn *i, uint64_t pc, uint64_t address)
{
    struct watch *w = m->watch;
    const struct pointer *p = &w->pointers[i->base];
    uint64_t base = as_known(m, p->start, live_reg(m, i->base));
    address = as_known(m, p->start, address);
    if (address >= p->start && address + i->size <= p->end)
        return true;
    bool variable = w->moved >> i->base & 1 || i->index != NO_REG;
    if (FROM_ANCHORS && w->moved >> i->base & 1 && i->disp) { /* of a variable that is reached from another one's address */
        w->pointing &= ~(1u << i->base);
        return true;
    }
    if (!variable && (base != p->end || i->disp)) { /* the way to another variable, perhaps */
        w->pointing &= ~(1u << i->base);
        return true;
    }
    report_access(m, REPORT_LOCAL, pc, address, i->size, i->flags & 3, p->start);
    w->pointing &= ~(1u << i->base);
    return false;
}

/* Objects that relocated operands must stay in: { start, end, address of the relocated field }, in order of the last. */
EXPORT int kobox_watch_bounds(struct machine *m, const struct bound *bounds, size_t count)
{
    struct watch *w = m->watch;
    struct bound *copy = realloc(w->bounds, count * sizeof *copy + 1);
    if (!copy)
        return -1;
    memcpy(copy, bounds, count * sizeof *copy);
    w->bounds = copy;
    w->bound_count = count;
    return 0;
}
