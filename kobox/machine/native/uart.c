/* Two 16550A UARTs; what the first one sends is the console (16550A data sheet; drivers/tty/serial/8250). */
#include "machine.h"

static void uart_update(struct machine *m, int n)
{
    struct uart *u = &m->dev.uart[n];
    bool wanted = ((u->ier & 1) && u->rx_count) || ((u->ier & 2) && u->thre_pending);
    m->platform->uart_line(m, n, wanted && (u->mcr & 8) && !(u->mcr & 0x10));
}

uint8_t uart_read(struct machine *m, int n, int reg)
{
    struct uart *u = &m->dev.uart[n];
    uint8_t value = 0;
    switch (reg) {
    case 0:
        if (u->lcr & 0x80)
            return u->dll;
        if (u->rx_count) {
            value = u->rx[u->rx_head];
            u->rx_head = (u->rx_head + 1) % sizeof u->rx;
            u->rx_count--;
        }
        uart_update(m, n);
        return value;
    case 1:
        return u->lcr & 0x80 ? u->dlm : u->ier;
    case 2:
        value = u->fcr & 1 ? 0xC0 : 0;
        if ((u->ier & 1) && u->rx_count)
            return value | 4;
        if ((u->ier & 2) && u->thre_pending) {
            u->thre_pending = 0;
            uart_update(m, n);
            return value | 2;
        }
        return value | 1;
    case 3:
        return u->lcr;
    case 4:
        return u->mcr;
    case 5:
        return 0x60 | (u->rx_count ? 1 : 0);
    case 6:
        if (u->mcr & 0x10)
            return (u->mcr & 3) << 4 | (u->mcr & 0xC) << 4;
        return 0xB0;
    default:
        return u->scr;
    }
}

void uart_write(struct machine *m, int n, int reg, uint8_t value)
{
    struct uart *u = &m->dev.uart[n];
    switch (reg) {
    case 0:
        if (u->lcr & 0x80) {
            u->dll = value;
            return;
        }
        if (n == 0 && !(u->mcr & 0x10))
            m->console[m->console_written++ % CONSOLE_SIZE] = value;
        u->thre_pending = 1;
        uart_update(m, n);
        return;
    case 1:
        if (u->lcr & 0x80) {
            u->dlm = value;
            return;
        }
        if (value & 2 && !(u->ier & 2))
            u->thre_pending = 1;
        u->ier = value & 15;
        uart_update(m, n);
        return;
    case 2:
        u->fcr = value;
        if (value & 2)
            u->rx_count = 0;
        return;
    case 3:
        u->lcr = value;
        return;
    case 4:
        u->mcr = value & 0x1F;
        uart_update(m, n);
        return;
    case 7:
        u->scr = value;
        return;
    default:
        return;
    }
}

/* Bytes arrive at a port; returns how many its buffer took. */
EXPORT int kobox_uart_input(struct machine *m, int n, const char *data, int size)
{
    if (n < 0 || n > 1)
        return 0;
    struct uart *u = &m->dev.uart[n];
    int taken = 0;
    while (taken < size && u->rx_count < sizeof u->rx) {
        u->rx[(u->rx_head + u->rx_count++) % sizeof u->rx] = data[taken++];
    }
    uart_update(m, n);
    return taken;
}
