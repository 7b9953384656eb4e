/* Two PL011 UARTs; what the first one sends is the console (Arm DDI 0183; drivers/tty/serial/amba-pl011.c). */
#include "arm.h"

enum {
    DR = 0, FR = 0x18, IBRD = 0x24, FBRD = 0x28, LCR_H = 0x2C, CR = 0x30, IFLS = 0x34, IMSC = 0x38, RIS = 0x3C, MIS = 0x40, ICR = 0x44,
    IDENTIFICATION = 0xFE0,
};
enum { FR_RX_EMPTY = 0x10, FR_TX_EMPTY = 0x80 };
enum { RECEIVE = 0x10, TRANSMIT = 0x20, TIMEOUT = 0x40 };

static void update(struct machine *m, unsigned n)
{
    const struct pl011 *u = &m->dev.uart[n];
    gic_line(m, IRQ_UART + n, u->raw & u->mask);
}

/* What the two UARTs have in common with their place: 4 KiB each, one behind the other. */
static struct pl011 *uart_at(struct machine *m, uint64_t at, unsigned *n)
{
    *n = at / PAGE & 1;
    return &m->dev.uart[*n];
}

void pl011_reset(struct pl011 *u)
{
    u->control = 0x300;
    u->fifo_level = 0x12;
}

static uint64_t receive(struct machine *m, struct pl011 *u, unsigned n)
{
    uint8_t byte = 0;
    if (u->rx_count) {
        byte = u->rx[u->rx_head];
        u->rx_head = (u->rx_head + 1) % sizeof u->rx;
        u->rx_count--;
    }
    if (!u->rx_count)
        u->raw &= ~(uint32_t)(RECEIVE | TIMEOUT);
    update(m, n);
    return byte;
}

uint64_t pl011_read(uc_engine *uc, uint64_t at, unsigned size, void *user)
{
    (void)uc, (void)size;
    static const uint8_t identification[8] = {0x11, 0x10, 0x14, 0x00, 0x0D, 0xF0, 0x05, 0xB1};
    struct machine *m = user;
    unsigned n;
    struct pl011 *u = uart_at(m, at, &n);
    at &= PAGE - 1;
    if (at >= IDENTIFICATION)
        return identification[(at - IDENTIFICATION) / 4 & 7];
    switch (at) {
    case DR: return receive(m, u, n);
    case FR: return FR_TX_EMPTY | (u->rx_count ? 0 : FR_RX_EMPTY);
    case IBRD: return u->integer_divisor;
    case FBRD: return u->fraction_divisor;
    case LCR_H: return u->line_control;
    case CR: return u->control;
    case IFLS: return u->fifo_level;
    case IMSC: return u->mask;
    case RIS: return u->raw;
    case MIS: return u->raw & u->mask;
    default: return 0;
    }
}

void pl011_write(uc_engine *uc, uint64_t at, unsigned size, uint64_t value, void *user)
{
    (void)uc, (void)size;
    struct machine *m = user;
    unsigned n;
    struct pl011 *u = uart_at(m, at, &n);
    switch (at & (PAGE - 1)) {
    case DR:
        if (n == 0)
            m->console[m->console_written++ % CONSOLE_SIZE] = (char)value;
        u->raw |= TRANSMIT; /* it is sent at once */
        break;
    case IBRD: u->integer_divisor = (uint32_t)value; return;
    case FBRD: u->fraction_divisor = (uint32_t)value; return;
    case LCR_H: u->line_control = (uint32_t)value; return;
    case CR: u->control = (uint32_t)value; return;
    case IFLS: u->fifo_level = (uint32_t)value; return;
    case IMSC: u->mask = (uint32_t)value; break;
    case ICR: u->raw &= ~(uint32_t)value | (u->rx_count ? RECEIVE | TIMEOUT : 0); break;
    default: return;
    }
    update(m, n);
}

/* Bytes arrive at a port; returns how many its buffer took. */
EXPORT int kobox_uart_input(struct machine *m, int n, const char *data, int size)
{
    if (n < 0 || n > 1)
        return 0;
    struct pl011 *u = &m->dev.uart[n];
    int taken = 0;
    while (taken < size && u->rx_count < sizeof u->rx)
        u->rx[(u->rx_head + u->rx_count++) % sizeof u->rx] = (uint8_t)data[taken++];
    u->raw |= u->rx_count ? RECEIVE | TIMEOUT : 0;
    update(m, (unsigned)n);
    return taken;
}
