/*
 * Two timers that count down, and raise one interrupt (Arm DDI 0271, "Dual-Timer Module (SP804)"): Unicorn has no hooks for the
 * CPU's own timer, and throws away what is written to it.
 */
#include "cpu.h"

enum { LOAD = 0, VALUE = 4, CONTROL = 8, CLEAR = 12, RAISED = 16, SHOWN = 20, BACKGROUND_LOAD = 24, NEXT_TIMER = 32 };
enum { ONE_SHOT = 1, INTERRUPT = 0x20, PERIODIC = 0x40, ENABLED = 0x80 };
enum { IDENTIFICATION = 0xFE0 };
/* 24 MHz: the clock of the board's PrimeCells (BUS_CLOCK in kobox/machine/tree_board.py). */
static uint64_t ticks_of(uint64_t ns) { return ns / 125 * 3 + ns % 125 * 3 / 125; }
static uint64_t ns_of(uint64_t ticks) { return ticks / 3 * 125 + (ticks % 3 * 125 + 2) / 3; }

/* A timer has come to 0, if it has. */
static void expire(struct sp804 *t, uint64_t ticks)
{
    uint64_t passed = ticks - t->start;
    if (!(t->control & ENABLED) || !t->load || passed < t->load)
        return;
    t->raised = 1;
    if (t->control & ONE_SHOT)
        t->control &= ~(uint32_t)ENABLED;
    else if (t->control & PERIODIC)
        t->start += passed / t->load * t->load;
    else
        t->start += passed >> 32 << 32;
}

void sp804_update(struct machine *m)
{
    uint64_t ticks = ticks_of(now(m));
    bool level = false;
    for (int n = 0; n < 2; n++) {
        struct sp804 *t = &m->dev.timer[n];
        if (t->control & INTERRUPT)
            expire(t, ticks);
        level |= t->raised && t->control & INTERRUPT;
    }
    uint32_t *word = &m->dev.gic.level[IRQ_SP804 / 32], bit = 1u << IRQ_SP804 % 32;
    *word = level ? *word | bit : *word & ~bit;
}

/* When one will raise the interrupt, in virtual ns; ~0: never, or it has done so. */
uint64_t sp804_next_due(const struct machine *m)
{
    uint64_t due = ~0ull;
    for (int n = 0; n < 2; n++) {
        const struct sp804 *t = &m->dev.timer[n];
        uint64_t at = ns_of(t->start + t->load);
        if ((t->control & (ENABLED | INTERRUPT)) == (ENABLED | INTERRUPT) && !t->raised && t->load && at < due)
            due = at;
    }
    return due;
}

static uint32_t value_of(struct machine *m, const struct sp804 *t)
{
    uint64_t passed = ticks_of(read_clock(m)) - t->start;
    if (t->control & PERIODIC && t->load)
        return t->load - (uint32_t)(passed % ((uint64_t)t->load + 1));
    return t->load - (uint32_t)passed;
}

uint64_t sp804_read(uc_engine *uc, uint64_t at, unsigned size, void *user)
{
    (void)uc, (void)size;
    static const uint8_t identification[8] = {0x04, 0x18, 0x14, 0x00, 0x0D, 0xF0, 0x05, 0xB1};
    struct machine *m = user;
    const struct sp804 *t = &m->dev.timer[at / NEXT_TIMER & 1];
    if (at >= IDENTIFICATION)
        return identification[(at - IDENTIFICATION) / 4 & 7];
    switch (at % NEXT_TIMER) {
    case LOAD: case BACKGROUND_LOAD: return t->load;
    case VALUE: return value_of(m, t);
    case CONTROL: return t->control;
    case RAISED: return t->raised;
    case SHOWN: return t->raised && t->control & INTERRUPT;
    default: return 0;
    }
}

void sp804_write(uc_engine *uc, uint64_t at, unsigned size, uint64_t value, void *user)
{
    (void)uc, (void)size;
    struct machine *m = user;
    struct sp804 *t = &m->dev.timer[at / NEXT_TIMER & 1];
    uint64_t ticks = ticks_of(now(m));
    switch (at % NEXT_TIMER) {
    case LOAD: case BACKGROUND_LOAD:
        t->load = (uint32_t)value;
        t->start = ticks;
        break;
    case CONTROL:
        if (value & ENABLED && !(t->control & ENABLED))
            t->start = ticks;
        t->control = (uint32_t)value;
        break;
    case CLEAR: t->raised = 0; break;
    default: return;
    }
    sp804_update(m);
    kick(m);
}
