/* A PLIC with one context: supervisor mode of the only hart (RISC-V Platform-Level Interrupt Controller Specification). */
#include "cpu.h"

enum { PRIORITY = 0, PENDING = 0x1000, ENABLE = 0x2000, THRESHOLD = 0x200000, CLAIM = 0x200004 };

/* The source that is served next; 0: none. */
static unsigned best(const struct plic *p)
{
    uint64_t ready = (p->level | p->latched) & p->enabled & ~p->claimed & ~1ull;
    unsigned found = 0;
    for (; ready; ready &= ready - 1) {
        unsigned n = (unsigned)__builtin_ctzll(ready);
        if (p->priority[n] > p->threshold && (!found || p->priority[n] > p->priority[found]))
            found = n;
    }
    return found;
}

static void update(struct machine *m)
{
    uint64_t *mip = at64(m->cpu, AT_MIP), bit = 1 << EXTERNAL_INTERRUPT;
    *mip = best(&m->dev.plic) ? *mip | bit : *mip & ~bit;
    kick(m);
}

static void set_bit64(uint64_t *word, unsigned n, bool value) { *word = (*word & ~(1ull << n)) | (uint64_t)value << n; }

void plic_line(struct machine *m, unsigned source, bool level)
{
    set_bit64(&m->dev.plic.level, source & (PLIC_SOURCES - 1), level);
    update(m);
}

void plic_pulse(struct machine *m, unsigned source)
{
    set_bit64(&m->dev.plic.latched, source & (PLIC_SOURCES - 1), true);
    update(m);
}

uint64_t plic_read(uc_engine *uc, uint64_t at, unsigned size, void *user)
{
    (void)uc, (void)size;
    struct machine *m = user;
    struct plic *p = &m->dev.plic;
    if (at < PRIORITY + 4 * PLIC_SOURCES)
        return p->priority[at / 4];
    if (at >= PENDING && at < PENDING + PLIC_SOURCES / 8)
        return (uint32_t)((p->level | p->latched) >> 8 * (at - PENDING));
    if (at >= ENABLE && at < ENABLE + PLIC_SOURCES / 8)
        return (uint32_t)(p->enabled >> 8 * (at - ENABLE));
    if (at == THRESHOLD)
        return p->threshold;
    if (at != CLAIM)
        return 0;
    unsigned source = best(p);
    if (source) {
        set_bit64(&p->latched, source, false);
        set_bit64(&p->claimed, source, true);
        update(m);
    }
    return source;
}

void plic_write(uc_engine *uc, uint64_t at, unsigned size, uint64_t value, void *user)
{
    (void)uc, (void)size;
    struct machine *m = user;
    struct plic *p = &m->dev.plic;
    if (at < PRIORITY + 4 * PLIC_SOURCES) {
        p->priority[at / 4] = value & 7;
    } else if (at >= ENABLE && at < ENABLE + PLIC_SOURCES / 8) {
        unsigned shift = 8 * (unsigned)(at - ENABLE);
        p->enabled = (p->enabled & ~(0xFFFFFFFFull << shift)) | (value & 0xFFFFFFFF) << shift;
    } else if (at == THRESHOLD) {
        p->threshold = value & 7;
    } else if (at == CLAIM && value < PLIC_SOURCES) {
        set_bit64(&p->claimed, (unsigned)value, false); /* it is complete */
    }
    update(m);
}
