/* The local APIC of each CPU (Intel SDM volume 3, chapter "APIC"; arch/x86/kernel/apic/apic.c). */
#include "machine.h"

enum {
    APIC_ID = 0x02, APIC_VERSION = 0x03, APIC_TPR = 0x08, APIC_EOI = 0x0B, APIC_LDR = 0x0D, APIC_DFR = 0x0E, APIC_SVR = 0x0F,
    APIC_ISR = 0x10, APIC_IRR = 0x20, APIC_ESR = 0x28, APIC_ICR = 0x30, APIC_ICR2 = 0x31, APIC_LVTT = 0x32,
    APIC_LVT0 = 0x35, APIC_LVT1 = 0x36, APIC_LVTERR = 0x37, APIC_TMICT = 0x38, APIC_TMCCT = 0x39, APIC_TDCR = 0x3E,
};

enum { ENABLED = 0x100, MASKED = 0x10000, DELIVERS_EXTINT = 0x700 };
enum { DELIVER_FIXED, DELIVER_LOWEST, DELIVER_NMI = 4, DELIVER_INIT, DELIVER_STARTUP };
enum { TO_DESTINATION, TO_SELF, TO_ALL, TO_OTHERS };

static int bits_highest(const uint32_t *words)
{
    for (int i = 7; i >= 0; i--)
        if (words[i])
            return i * 32 + 31 - __builtin_clz(words[i]);
    return -1;
}

void lapic_raise(struct machine *m, int cpu, int vector)
{
    m->dev.lapic[cpu].reg[APIC_IRR + (vector >> 5)] |= 1u << (vector & 31);
    kick(m);
}

int lapic_pending(const struct machine *m, int cpu)
{
    const struct lapic *a = &m->dev.lapic[cpu];
    if (!(a->reg[APIC_SVR] & ENABLED))
        return -1;
    int waiting = bits_highest(a->reg + APIC_IRR), serviced = bits_highest(a->reg + APIC_ISR);
    if (waiting < 0 || waiting >> 4 <= (int)(a->reg[APIC_TPR] >> 4 & 15) || (serviced >= 0 && waiting >> 4 <= serviced >> 4))
        return -1;
    return waiting;
}

static uint64_t lapic_tick_ns(const struct lapic *a)
{
    static const uint8_t divisor[8] = {2, 4, 8, 16, 32, 64, 128, 1};
    uint32_t d = a->reg[APIC_TDCR];
    return divisor[(d & 3) | (d >> 1 & 4)]; /* the bus runs at 1 GHz */
}

static void lapic_arm(struct machine *m, struct lapic *a, uint64_t start)
{
    a->timer_start = start;
    a->timer_expiry = a->reg[APIC_TMICT] ? start + a->reg[APIC_TMICT] * lapic_tick_ns(a) : 0;
    kick(m);
}

/* By physical ID, or flat logical destination. */
static bool has_address(const struct lapic *a, uint32_t destination, bool logical)
{
    return logical ? a->reg[APIC_LDR] >> 24 & destination : destination == 0xFF || destination == a->reg[APIC_ID] >> 24;
}

/* The CPU that a device's message goes to. */
int lapic_addressed(const struct machine *m, uint32_t destination, bool logical)
{
    for (int cpu = 0; cpu < m->cpus.count; cpu++)
        if (has_address(&m->dev.lapic[cpu], destination, logical))
            return cpu;
    return 0;
}

/* Whether an interprocessor interrupt is meant for a CPU. */
static bool is_addressed(const struct machine *m, int cpu, uint32_t command)
{
    const struct lapic *own = &m->dev.lapic[m->cpus.current];
    switch (command >> 18 & 3) {
    case TO_SELF:
        return cpu == m->cpus.current;
    case TO_ALL:
        return true;
    case TO_OTHERS:
        return cpu != m->cpus.current;
    default:
        return has_address(&m->dev.lapic[cpu], own->reg[APIC_ICR2] >> 24, command >> 11 & 1);
    }
}

/* The interrupt command register was written. A CPU that is started gets its state when its turn comes (cpus.c). */
static void send_ipi(struct machine *m, uint32_t command)
{
    unsigned kind = command >> 8 & 7;
    for (int cpu = 0; cpu < m->cpus.count; cpu++) {
        if (!is_addressed(m, cpu, command))
            continue;
        if (kind == DELIVER_FIXED || kind == DELIVER_LOWEST)
            lapic_raise(m, cpu, command & 255);
        else if (kind == DELIVER_NMI && m->cpus.count > 1)
            m->cpus.nmi[cpu] = 1;
        else if (kind == DELIVER_INIT && command >> 14 & 1 && cpu != m->cpus.current)
            m->cpus.state[cpu] = CPU_WAITS_FOR_SIPI;
        else if (kind == DELIVER_STARTUP && m->cpus.state[cpu] == CPU_WAITS_FOR_SIPI) {
            m->cpus.state[cpu] = CPU_STARTS;
            m->cpus.start_page[cpu] = command & 255;
        }
        kick(m);
        if (kind == DELIVER_LOWEST)
            break;
    }
}

uint64_t lapic_read(uc_engine *uc, uint64_t offset, unsigned size, void *user)
{
    (void)uc, (void)size;
    struct machine *m = user;
    struct lapic *a = &m->dev.lapic[m->cpus.current];
    unsigned n = offset >> 4;
    if (n >= 64)
        return 0;
    if (n == APIC_TMCCT) {
        uint64_t t = now(m);
        return a->timer_expiry > t ? (a->timer_expiry - t) / lapic_tick_ns(a) : 0;
    }
    return a->reg[n];
}

void lapic_write(uc_engine *uc, uint64_t offset, unsigned size, uint64_t value, void *user)
{
    (void)uc, (void)size;
    struct machine *m = user;
    struct lapic *a = &m->dev.lapic[m->cpus.current];
    unsigned n = offset >> 4;
    int vector;
    switch (n) {
    case APIC_EOI:
        vector = bits_highest(a->reg + APIC_ISR);
        if (vector >= 0)
            a->reg[APIC_ISR + (vector >> 5)] &= ~(1u << (vector & 31));
        kick(m);
        break;
    case APIC_ESR:
        a->reg[n] = 0;
        break;
    case APIC_ICR:
        a->reg[n] = value & ~(1u << 12);
        send_ipi(m, value);
        break;
    case APIC_TMICT:
        a->reg[n] = value;
        lapic_arm(m, a, now(m));
        break;
    case APIC_ID:
        break;
    case APIC_TPR:
    case APIC_SVR:
    case APIC_LVTT:
    case APIC_LVT0:
    case APIC_LVT1:
    case APIC_LVTERR:
    case APIC_TDCR:
    case APIC_ICR2:
    case APIC_LDR:
    case APIC_DFR:
    case 0x33: /* thermal */
    case 0x34: /* performance counters */
        a->reg[n] = value;
        kick(m);
        break;
    default:
        break;
    }
}

static void raise_timer(struct machine *m, int cpu)
{
    struct lapic *a = &m->dev.lapic[cpu];
    if (!a->timer_expiry || a->timer_expiry > m->dev.time)
        return;
    uint64_t due = a->timer_expiry;
    bool periodic = a->reg[APIC_LVTT] >> 17 & 1;
    a->timer_expiry = 0;
    if (!(a->reg[APIC_LVTT] & MASKED))
        lapic_raise(m, cpu, a->reg[APIC_LVTT] & 255);
    if (periodic && a->reg[APIC_TMICT]) { /* the last time that it was due; what it missed before that is lost */
        uint64_t period = a->reg[APIC_TMICT] * lapic_tick_ns(a);
        lapic_arm(m, a, due + (m->dev.time - due) / period * period);
    }
}

void lapic_raise_due(struct machine *m)
{
    for (int cpu = 0; cpu < m->cpus.count; cpu++)
        raise_timer(m, cpu);
}

/* A timer whose interrupt is masked wakes nobody. */
uint64_t lapic_next_due(const struct machine *m)
{
    uint64_t first = 0;
    for (int cpu = 0; cpu < m->cpus.count; cpu++) {
        const struct lapic *a = &m->dev.lapic[cpu];
        if (!(a->reg[APIC_LVTT] & MASKED) && a->timer_expiry && (!first || a->timer_expiry < first))
            first = a->timer_expiry;
    }
    return first;
}

/* Whether the PIC's interrupts reach CPU 0, which is wired to it: as ExtINT through LINT0, or straight while the APIC is off. */
bool lapic_passes_pic(const struct machine *m)
{
    const struct lapic *a = &m->dev.lapic[0];
    return !(a->reg[APIC_SVR] & ENABLED) || (!(a->reg[APIC_LVT0] & MASKED) && (a->reg[APIC_LVT0] >> 8 & 7) == 7);
}

/* The CPU takes an interrupt that lapic_pending() gave. */
void lapic_accept(struct machine *m, int vector)
{
    struct lapic *a = &m->dev.lapic[m->cpus.current];
    a->reg[APIC_IRR + (vector >> 5)] &= ~(1u << (vector & 31));
    a->reg[APIC_ISR + (vector >> 5)] |= 1u << (vector & 31);
}

/* At power on. With several CPUs, LINT0 of the first is as firmware leaves it: the kernel masks the PIC for good otherwise. */
void lapic_reset(struct machine *m)
{
    for (int cpu = 0; cpu < MAX_CPUS; cpu++) {
        struct lapic *a = &m->dev.lapic[cpu];
        a->reg[APIC_ID] = (uint32_t)cpu << 24;
        a->reg[APIC_VERSION] = 0x00050014;
        a->reg[APIC_SVR] = 0xFF;
        a->reg[APIC_DFR] = m->cpus.count > 1 ? ~0u : 0;
        for (int n = APIC_LVTT; n <= APIC_LVTERR; n++)
            a->reg[n] = MASKED;
    }
    if (m->cpus.count > 1)
        m->dev.lapic[0].reg[APIC_LVT0] = DELIVERS_EXTINT;
}
