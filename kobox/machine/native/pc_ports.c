/* The I/O ports of a PC and what answers there. */
#include "machine.h"

uint32_t pc_port_read(struct machine *m, uint32_t port, int size)
{
    if (pci_has_port(port))
        return pci_port_read(m, port, size);
    if ((port & ~7u) == 0x3F8)
        return uart_read(m, 0, port & 7);
    if ((port & ~7u) == 0x2F8)
        return uart_read(m, 1, port & 7);
    switch (port) {
    case 0x20:
    case 0x21:
    case 0xA0:
    case 0xA1:
        return pic_read(m, port >> 7, port & 1);
    case 0x40:
    case 0x41:
    case 0x42:
        return pit_read(m, port - 0x40);
    case 0x61:
        return (m->dev.port61 & 0x0F) | (pit_output2(m) ? 0x20 : 0) | (now(m) / 15085 & 1) << 4;
    case 0x71:
        return rtc_read(m);
    case 0x92:
        return m->dev.port92;
    case 0x600: /* ACPI PM1 status, enable and control: nothing ever happens, and ACPI mode is on */
        return size == 4 ? (uint32_t)m->dev.pm1_enable << 16 : 0;
    case 0x602:
        return m->dev.pm1_enable;
    case 0x604:
        return 1;
    case 0x4D0: /* which interrupts are level triggered */
    case 0x4D1:
        return m->dev.pic[port & 1].level;
    default:
        return pci_other_port(m, port, size);
    }
}

void pc_port_write(struct machine *m, uint32_t port, uint32_t value, int size)
{
    if (pci_has_port(port))
        pci_port_write(m, port, value, size);
    else if ((port & ~7u) == 0x3F8)
        uart_write(m, 0, port & 7, value);
    else if ((port & ~7u) == 0x2F8)
        uart_write(m, 1, port & 7, value);
    else if (port == 0x20 || port == 0x21)
        pic_write(m, 0, port & 1, value);
    else if (port == 0xA0 || port == 0xA1)
        pic_write(m, 1, port & 1, value);
    else if (port >= 0x40 && port <= 0x42)
        pit_write(m, port - 0x40, value);
    else if (port == 0x43)
        pit_control(m, value);
    else if (port == 0x61)
        m->dev.port61 = value;
    else if (port == 0x4D0 || port == 0x4D1)
        m->dev.pic[port & 1].level = port & 1 ? value & 0xDE : value & 0xF8; /* not the timer, keyboard, cascade, RTC, FPU */
    else if (port == 0x602)
        m->dev.pm1_enable = value;
    else if (port == 0x70)
        m->dev.cmos_index = value & 0x7F;
    else if (port == 0x92 || (port == 0x64 && (value & 0xFF) == 0xFE) || (port == 0xCF9 && value & 4)) {
        m->dev.port92 = value & ~1u;
        if (port != 0x92 || value & 1) {
            m->event = EV_RESET;
            m->api.emu_stop(m->uc);
        }
    }
}
