/* A GICv2 with one CPU (Arm IHI 0048B). */
#include "arm.h"

static void set_line(uint32_t *words, unsigned n, bool value)
{
    words[n >> 5] = (words[n >> 5] & ~(1u << (n & 31))) | (uint32_t)value << (n & 31);
}

void gic_line(struct machine *m, unsigned line, bool level)
{
    set_line(m->dev.gic.level, line, level);
    kick(m);
}

void gic_pulse(struct machine *m, unsigned line)
{
    set_line(m->dev.gic.latched, line, true);
    kick(m);
}

/* The line whose interrupt comes first, or -1. */
int gic_pending(const struct machine *m)
{
    const struct gic *g = &m->dev.gic;
    int best = -1;
    if (!(g->distributor & 1) || !(g->interface & 1))
        return -1;
    for (unsigned w = 0; w < GIC_LINES / 32; w++) {
        uint32_t ready = (g->level[w] | g->latched[w]) & g->enabled[w] & ~g->active[w];
        for (; ready; ready &= ready - 1) {
            int n = (int)(w * 32) + __builtin_ctz(ready);
            if (g->priority[n] < g->priority_mask && (best < 0 || g->priority[n] < g->priority[best]))
                best = n;
        }
    }
    return best;
}

/* ---- the distributor ---------------------------------------------------------------------------------------------------- */
enum { CTLR = 0, TYPER = 4, IIDR = 8, PRIORITY = 0x400, TARGETS = 0x800, CONFIG = 0xC00, SGIR = 0xF00, PIDR2 = 0xFE8 };
enum { SET_ENABLE = 2, CLEAR_ENABLE, SET_PENDING, CLEAR_PENDING, SET_ACTIVE, CLEAR_ACTIVE }; /* 128 bytes each */

uint64_t gic_distributor_read(uc_engine *uc, uint64_t at, unsigned size, void *user)
{
    (void)uc;
    const struct gic *g = &((struct machine *)user)->dev.gic;
    uint64_t word = at >> 2 & 31, value = 0;
    if (at == CTLR)
        return g->distributor;
    if (at == TYPER)
        return GIC_LINES / 32 - 1;
    if (at == IIDR)
        return 0x0200043B;
    if (at == PIDR2)
        return 0x2B;
    if (at >= PRIORITY && at + size <= PRIORITY + GIC_LINES) {
        for (unsigned i = 0; i < size; i++)
            value |= (uint64_t)g->priority[at - PRIORITY + i] << 8 * i;
        return value;
    }
    if (at >= TARGETS && at < TARGETS + GIC_LINES)
        return size == 4 ? 0x01010101 : 1; /* Linux wants to see its own bit */
    if (at >= CONFIG && at < CONFIG + GIC_LINES / 4)
        return g->config[(at - CONFIG) / 4];
    if (at >= 0x400 || word >= GIC_LINES / 32)
        return 0;
    switch (at >> 7) {
    case SET_ENABLE: case CLEAR_ENABLE: return g->enabled[word];
    case SET_PENDING: case CLEAR_PENDING: return g->latched[word] | g->level[word];
    case SET_ACTIVE: case CLEAR_ACTIVE: return g->active[word];
    default: return 0;
    }
}

void gic_distributor_write(uc_engine *uc, uint64_t at, unsigned size, uint64_t value, void *user)
{
    (void)uc;
    struct machine *m = user;
    struct gic *g = &m->dev.gic;
    uint64_t word = at >> 2 & 31;
    kick(m);
    if (at == CTLR)
        g->distributor = (uint32_t)value;
    else if (at >= PRIORITY && at + size <= PRIORITY + GIC_LINES)
        for (unsigned i = 0; i < size; i++)
            g->priority[at - PRIORITY + i] = (uint8_t)(value >> 8 * i);
    else if (at >= CONFIG && at < CONFIG + GIC_LINES / 4)
        g->config[(at - CONFIG) / 4] = (uint32_t)value;
    else if (at == SGIR)
        set_line(g->latched, value & 15, true); /* to the only CPU there is */
    else if (at < 0x400 && word < GIC_LINES / 32)
        switch (at >> 7) {
        case SET_ENABLE: g->enabled[word] |= (uint32_t)value; break;
        case CLEAR_ENABLE: g->enabled[word] &= ~(uint32_t)value; break;
        case SET_PENDING: g->latched[word] |= (uint32_t)value; break;
        case CLEAR_PENDING: g->latched[word] &= ~(uint32_t)value; break;
        case SET_ACTIVE: g->active[word] |= (uint32_t)value; break;
        case CLEAR_ACTIVE: g->active[word] &= ~(uint32_t)value; break;
        default: break;
        }
}

/* ---- the CPU interface ---------------------------------------------------------------------------------------------------- */
enum { PMR = 4, BPR = 8, IAR = 0xC, EOIR = 0x10, RPR = 0x14, HPPIR = 0x18, INTERFACE_ID = 0xFC, DIR = 0x1000, SPURIOUS = 1023 };

uint64_t gic_interface_read(uc_engine *uc, uint64_t at, unsigned size, void *user)
{
    (void)uc, (void)size;
    struct machine *m = user;
    struct gic *g = &m->dev.gic;
    int line;
    switch (at) {
    case CTLR: return g->interface;
    case PMR: return g->priority_mask;
    case BPR: return g->binary_point;
    case IAR:
        line = gic_pending(m);
        if (line < 0)
            return SPURIOUS;
        set_line(g->latched, (unsigned)line, false);
        set_line(g->active, (unsigned)line, true);
        kick(m);
        return (uint64_t)line;
    case RPR: return 0xFF;
    case HPPIR: line = gic_pending(m); return line < 0 ? SPURIOUS : (uint64_t)line;
    case INTERFACE_ID: return 0x0202043B;
    default: return 0;
    }
}

void gic_interface_write(uc_engine *uc, uint64_t at, unsigned size, uint64_t value, void *user)
{
    (void)uc, (void)size;
    struct machine *m = user;
    struct gic *g = &m->dev.gic;
    kick(m);
    switch (at) {
    case CTLR: g->interface = (uint32_t)value; break;
    case PMR: g->priority_mask = value & 0xF8; break;
    case BPR: g->binary_point = value & 7; break;
    case EOIR: case DIR:
        if ((value & SPURIOUS) < GIC_LINES)
            set_line(g->active, value & SPURIOUS, false);
        break;
    default: break;
    }
}
