/*
 * The machine around the CPU: where its devices are, its timer and its interrupts. The device tree (kobox/machine/riscv_virt.py)
 * tells the kernel of them.
 *
 *     0xFC000000        PLIC
 *     0xFE020000        two 16550A UARTs, a page each
 */
#include "cpu.h"

#define PLIC_BASE 0xFC000000ull
#define PLIC_SIZE 0x400000ull
#define UART_BASE 0xFE020000ull
#define UART_SIZE 0x2000ull

static uint64_t current_pc(const struct machine *m) { return live_pc(m); }
static bool accepts_interrupts(struct machine *m) { return interrupts_enabled(m); }
static bool can_wake(struct machine *m) { return live64(m, AT_MIE); /* WFI ends by a pending interrupt, masked by SIE or not */ }
static bool deliver_deferred(struct machine *m) { (void)m; return false; }
static void device_interrupt(struct machine *m) { plic_pulse(m, IRQ_DEVICES); }
static void uart_line(struct machine *m, int n, bool level) { plic_line(m, IRQ_UART + (unsigned)n, level); }
void board_line(struct machine *m, unsigned line, bool level) { plic_line(m, line, level); }

static int pending_interrupt(struct machine *m)
{
    static const int order[] = {EXTERNAL_INTERRUPT, SOFTWARE_INTERRUPT, TIMER_INTERRUPT};
    uint64_t ready = live64(m, AT_MIP) & live64(m, AT_MIE);
    for (size_t n = 0; n < sizeof order / sizeof *order; n++)
        if (ready >> order[n] & 1)
            return order[n];
    return -1;
}

static void take_interrupt(struct machine *m, int number)
{
    m->dev.interrupts++;
    take_trap(m, 1ull << 63 | (uint64_t)number, 0);
}

/* The timer; and what the CPU has said of changed code since it was last stopped. */
static void raise_due(struct machine *m)
{
    if (now(m) / NS_PER_TICK >= m->dev.timer)
        *at64(m->cpu, AT_MIP) |= 1 << TIMER_INTERRUPT;
    if (m->fenced || m->fences_lost)
        forget_changed_code(m);
    if (m->flush)
        m->api.ctl(m->uc, UC_CTL_WRITE(UC_CTL_TLB_FLUSH, 0));
    m->fenced = m->flush = false;
}

/* When the timer raises its interrupt, in virtual ns; ~0: never, or it has done so. */
static uint64_t next_due(const struct machine *m)
{
    uint64_t at = m->dev.timer;
    return at > ~0ull / NS_PER_TICK - 1 || at <= m->dev.time / NS_PER_TICK ? ~0ull : at * NS_PER_TICK;
}

static const struct platform virt_platform = {
    .pc = current_pc,
    .accepts_interrupts = accepts_interrupts,
    .can_wake = can_wake,
    .wakes_masked = true,
    .pending_interrupt = pending_interrupt,
    .take_interrupt = take_interrupt,
    .raise_due = raise_due,
    .next_due = next_due,
    .deliver_deferred = deliver_deferred,
    .device_interrupt = device_interrupt,
    .uart_line = uart_line,
};

void reset_board(struct machine *m)
{
    m->platform = &virt_platform;
    m->dev.timer = ~0ull;
}

static uint64_t serial_read(uc_engine *uc, uint64_t at, unsigned size, void *user)
{
    (void)uc, (void)size;
    return uart_read(user, at / PAGE & 1, at & 7);
}

static void serial_write(uc_engine *uc, uint64_t at, unsigned size, uint64_t value, void *user)
{
    (void)uc, (void)size;
    uart_write(user, at / PAGE & 1, at & 7, (uint8_t)value);
}

size_t board_regions(struct region *out)
{
    static const struct region regions[] = {
        {PLIC_BASE, PLIC_BASE + PLIC_SIZE, plic_read, plic_write},
        {UART_BASE, UART_BASE + UART_SIZE, serial_read, serial_write},
    };
    memcpy(out, regions, sizeof regions);
    return sizeof regions / sizeof *regions;
}
