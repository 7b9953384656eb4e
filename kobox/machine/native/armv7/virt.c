/*
 * The machine around the CPU: where its devices are, its timer and its interrupts. The device tree (kobox/machine/armv7_virt.py)
 * tells the kernel of them.
 *
 *     0xFE000000        GIC: distributor, and at + 0x10000 the CPU interface
 *     0xFE020000        two PL011 UARTs, a page each
 *     0xFE030000        SP804: two timers
 */
#include "cpu.h"

#define GIC_BASE 0xFE000000ull
#define GIC_SIZE 0x10000ull
#define UART_BASE 0xFE020000ull
#define UART_SIZE 0x2000ull
#define TIMER_BASE 0xFE030000ull

/* Unicorn is started at an odd address for code of Thumb. */
static uint64_t current_pc(const struct machine *m) { return live_pc(m) | (live32(m, AT_THUMB) & 1); }
static bool accepts_interrupts(struct machine *m) { return interrupts_enabled(m); }
static bool can_wake(struct machine *m) { return m->dev.gic.interface & 1; /* WFI ends by a pending interrupt, masked or not */ }
static int pending_interrupt(struct machine *m) { return gic_pending(m); }
static bool deliver_deferred(struct machine *m) { (void)m; return false; }
static void device_interrupt(struct machine *m) { gic_pulse(m, IRQ_DEVICES); }

/* The timers; and what the CPU has said of changed code since it was last stopped. */
static void raise_due(struct machine *m)
{
    sp804_update(m);
    m->all_stale |= m->fences_lost;
    if (m->fenced)
        forget_changed_code(m);
    m->fenced = false;
}

static const struct platform virt_platform = {
    .pc = current_pc,
    .accepts_interrupts = accepts_interrupts,
    .can_wake = can_wake,
    .wakes_masked = true,
    .pending_interrupt = pending_interrupt,
    .take_interrupt = take_interrupt,
    .raise_due = raise_due,
    .next_due = sp804_next_due,
    .deliver_deferred = deliver_deferred,
    .device_interrupt = device_interrupt,
};

void reset_board(struct machine *m)
{
    m->platform = &virt_platform;
    pl011_reset(&m->dev.uart[0]);
    pl011_reset(&m->dev.uart[1]);
    m->dev.timer[0].load = m->dev.timer[1].load = ~0u;
}

void board_line(struct machine *m, unsigned line, bool level) { gic_line(m, line, level); }

size_t board_regions(struct region *out)
{
    static const struct region regions[] = {
        {GIC_BASE, GIC_BASE + GIC_SIZE, gic_distributor_read, gic_distributor_write},
        {GIC_BASE + GIC_SIZE, GIC_BASE + 2 * GIC_SIZE, gic_interface_read, gic_interface_write},
        {UART_BASE, UART_BASE + UART_SIZE, pl011_read, pl011_write},
        {TIMER_BASE, TIMER_BASE + PAGE, sp804_read, sp804_write},
    };
    memcpy(out, regions, sizeof regions);
    return sizeof regions / sizeof *regions;
}
