/* The virtual timer (Arm ARM, "The Generic Timer"): its registers are read and written in system_registers.c. */
#include "cpu.h"

enum { ENABLE = 1, MASKED = 2 };

void timer_update(struct machine *m)
{
    bool met = m->dev.timer_control & ENABLE && now(m) / NS_PER_TICK >= m->dev.timer_value;
    uint32_t *level = &m->dev.gic.level[IRQ_TIMER / 32], bit = 1u << IRQ_TIMER % 32;
    *level = met && !(m->dev.timer_control & MASKED) ? *level | bit : *level & ~bit;
}

/* When it will raise its interrupt, in virtual ns; ~0: never, or it has done so. */
uint64_t timer_next_due(const struct machine *m)
{
    uint64_t at = m->dev.timer_value;
    if ((m->dev.timer_control & (ENABLE | MASKED)) != ENABLE || at > ~0ull / NS_PER_TICK - 1 || at <= m->dev.time / NS_PER_TICK)
        return ~0ull;
    return at * NS_PER_TICK;
}
