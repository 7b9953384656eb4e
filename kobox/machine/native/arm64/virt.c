/*
 * The machine around the CPU: its memory map, its timer and its interrupts. The device tree (kobox/machine/arm_virt.py) tells the
 * kernel of them.
 *
 *     0 .. ram_size     RAM
 *     0xFE000000        GIC: distributor, and at + 0x10000 the CPU interface
 *     0xFE020000        two PL011 UARTs, a page each
 *     0xFD000000        devices that are plugged in, on inputs of their own
 *     0xFEA00000        devices that Python models, a page each, on one interrupt
 *     elsewhere         nothing answers
 */
#include "cpu.h"

#define GIC_BASE 0xFE000000ull
#define GIC_SIZE 0x10000ull
#define PLUGGED_BASE 0xFD000000ull
#define ACCESS_NS 1024 /* a device is about a microsecond away */
#define UART_BASE 0xFE020000ull
#define UART_SIZE 0x2000ull
#define PHYSICAL_END (1ull << 40)

static uint64_t current_pc(const struct machine *m) { return live64(m, AT_PC); }
static bool accepts_interrupts(struct machine *m) { return !(live64(m, AT_DAIF) & PSTATE_I); }
static bool can_wake(struct machine *m) { return m->dev.gic.interface & 1; /* WFI ends by a pending interrupt, masked or not */ }
static int pending_interrupt(struct machine *m) { return gic_pending(m); }
static void raise_due(struct machine *m) { timer_update(m); }
static bool deliver_deferred(struct machine *m) { (void)m; return false; }
static void device_interrupt(struct machine *m) { gic_pulse(m, IRQ_DEVICES); }

static void take_interrupt(struct machine *m, int line)
{
    (void)line; /* the kernel asks the GIC */
    m->dev.interrupts++;
    enter_kernel(m, 0x80);
}

static const struct platform virt_platform = {
    .pc = current_pc,
    .accepts_interrupts = accepts_interrupts,
    .can_wake = can_wake,
    .wakes_masked = true,
    .pending_interrupt = pending_interrupt,
    .take_interrupt = take_interrupt,
    .raise_due = raise_due,
    .next_due = timer_next_due,
    .deliver_deferred = deliver_deferred,
    .device_interrupt = device_interrupt,
};

void reset_board(struct machine *m)
{
    m->platform = &virt_platform;
    pl011_reset(&m->dev.uart[0]);
    pl011_reset(&m->dev.uart[1]);
}

EXPORT uint64_t kobox_due(struct machine *m) { return timer_next_due(m); }

static bool map_void(struct machine *m, uint64_t start, uint64_t end)
{
    return start == end || m->api.mmio_map(m->uc, start, end - start, void_read, m, void_write, m) == UC_ERR_OK;
}

/* Registers of devices that are plugged in: Python has them (kobox/machine/platform.py). */
static uint64_t plugged(struct machine *m, uint64_t at, unsigned size, uint64_t value, bool write)
{
    m->budget -= ACCESS_NS / NS_PER_BLOCK;
    return m->on_pci ? m->on_pci(PCI_SPACE_MEMORY, at, size, value, write) : ~0ull;
}

static uint64_t plugged_read(uc_engine *uc, uint64_t at, unsigned size, void *user)
{
    (void)uc;
    return plugged(user, PLUGGED_BASE + at, size, 0, false);
}

static void plugged_write(uc_engine *uc, uint64_t at, unsigned size, uint64_t value, void *user)
{
    (void)uc;
    plugged(user, PLUGGED_BASE + at, size, value, true);
}

bool map_board(struct machine *m)
{
    const struct unicorn_api *a = &m->api;
    if (!m->ram_size || m->ram_size & (PAGE - 1) || m->ram_size >= PLUGGED_BASE)
        return false;
    return a->map_ptr(m->uc, 0, m->ram_size, UC_PROT_ALL, m->ram) == UC_ERR_OK && map_void(m, m->ram_size, PLUGGED_BASE) &&
           a->mmio_map(m->uc, PLUGGED_BASE, GIC_BASE - PLUGGED_BASE, plugged_read, m, plugged_write, m) == UC_ERR_OK &&
           a->mmio_map(m->uc, GIC_BASE, GIC_SIZE, gic_distributor_read, m, gic_distributor_write, m) == UC_ERR_OK &&
           a->mmio_map(m->uc, GIC_BASE + GIC_SIZE, GIC_SIZE, gic_interface_read, m, gic_interface_write, m) == UC_ERR_OK &&
           a->mmio_map(m->uc, UART_BASE, UART_SIZE, pl011_read, m, pl011_write, m) == UC_ERR_OK &&
           map_void(m, UART_BASE + UART_SIZE, DEVICES) &&
           a->mmio_map(m->uc, DEVICES, DEVICES_SIZE, device_read, m, device_write, m) == UC_ERR_OK &&
           map_void(m, DEVICES + DEVICES_SIZE, PHYSICAL_END);
}

/* There is no PCI bus: the device tree announces none, so nothing of the kernel's ever looks at one. */
EXPORT void kobox_on_pci(struct machine *m, pci_callback callback) { m->on_pci = callback; }
EXPORT int kobox_pci_message(struct machine *m, uint64_t address, uint32_t data) { return (void)m, (void)address, (void)data, -1; }
EXPORT void kobox_pci_line(struct machine *m, int line, int high) { gic_line(m, (unsigned)line, high); }
EXPORT void kobox_pci_pulse(struct machine *m, int line) { (void)m, (void)line; }
