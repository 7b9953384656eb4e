/*
 * A PC around the CPU: its memory map, which timers and interrupts it has, and the registers of devices that Python models.
 *
 *     0 .. ram_size     RAM
 *     0xE0000000        BARs of PCI devices (pci.c), and at 0x800000000
 *     0xFEA00000        devices that Python models, a page each, on one interrupt
 *     0xFEE00000        the local APIC
 *     elsewhere         nothing answers
 */
#include "x86_64/cpu.h"

#define LAPIC_BASE 0xFEE00000ull
#define PHYSICAL_END (1ull << 40)
#define NMI 257
#define FROM_PIC 256 /* the number of an interrupt whose vector the PIC gives when it is acknowledged */

/* ---- interrupts and timers ---------------------------------------------------------------------------------------- */
static uint64_t current_pc(const struct machine *m) { return live64(m, AT_EIP); }

static bool can_wake(struct machine *m) { return read_reg(m, UC_X86_REG_EFLAGS) & FLAG_IF; }

static bool accepts_interrupts(struct machine *m)
{
    return !(live64(m, AT_HFLAGS) & HF_INHIBIT_IRQ) && (m->cpus.nmi[m->cpus.current] || can_wake(m));
}

static void raise_due(struct machine *m)
{
    lapic_raise_due(m);
    pit_raise_due(m);
}

static uint64_t next_due(const struct machine *m)
{
    uint64_t lapic = lapic_next_due(m), pit = pit_next_due(m);
    if (!lapic || (pit && pit < lapic))
        lapic = pit;
    return lapic ? lapic : ~0ull;
}

static int pending_on(struct machine *m, int cpu)
{
    if (m->cpus.nmi[cpu])
        return NMI;
    int vector = lapic_pending(m, cpu);
    if (vector >= 0)
        return vector;
    return cpu == 0 && lapic_passes_pic(m) && pic_pending(m) >= 0 ? FROM_PIC : -1;
}

static int pending_interrupt(struct machine *m) { return pending_on(m, m->cpus.current); }
static bool wakes(struct machine *m, int cpu) { return pending_on(m, cpu) >= 0; }

static void take_interrupt(struct machine *m, int vector)
{
    if (vector == NMI) {
        m->cpus.nmi[m->cpus.current] = 0;
        vector = 2;
    } else if (vector == FROM_PIC)
        vector = pic_acknowledge(m);
    else
        lapic_accept(m, vector);
    m->dev.interrupts++;
    deliver(m, vector, false, 0);
}

static void uart_line(struct machine *m, int n, bool level) { pic_line(m, n ? 3 : 4, level); }
static void device_interrupt(struct machine *m) { pic_pulse(m, DEVICES_IRQ); }

static bool deliver_deferred(struct machine *m) { return deliver_denied(m) || deliver_debug(m); }

const struct platform pc_platform = {
    .pc = current_pc,
    .accepts_interrupts = accepts_interrupts,
    .can_wake = can_wake,
    .pending_interrupt = pending_interrupt,
    .take_interrupt = take_interrupt,
    .raise_due = raise_due,
    .next_due = next_due,
    .deliver_deferred = deliver_deferred,
    .device_interrupt = device_interrupt,
    .uart_line = uart_line,
    .wakes = wakes,
    .paging_differs = paging_differs,
    .start_cpu = start_cpu,
};

void reset_board(struct machine *m)
{
    m->platform = &pc_platform;
    lapic_reset(m);
    m->dev.pic[0].imr = m->dev.pic[1].imr = 0xFF;
}

EXPORT uint64_t kobox_due(struct machine *m) { return next_due(m); }

/* ---- the memory map -------------------------------------------------------------------------------------------------- */
bool map_board(struct machine *m)
{
    const uint64_t after = DEVICES + DEVICES_SIZE, high = PCI_HIGH_MEMORY + PCI_HIGH_MEMORY_SIZE;
    const struct unicorn_api *a = &m->api;
    if (!m->ram_size || m->ram_size & (PAGE - 1) || m->ram_size > PCI_MEMORY)
        return false;
    return a->map_ptr(m->uc, 0, m->ram_size, UC_PROT_ALL, m->ram) == UC_ERR_OK &&
           (m->ram_size == PCI_MEMORY ||
            a->mmio_map(m->uc, m->ram_size, PCI_MEMORY - m->ram_size, void_read, m, void_write, m) == UC_ERR_OK) &&
           pci_map(m) &&
           a->mmio_map(m->uc, PCI_MEMORY + PCI_MEMORY_SIZE, DEVICES - PCI_MEMORY - PCI_MEMORY_SIZE, void_read, m, void_write, m) ==
               UC_ERR_OK &&
           a->mmio_map(m->uc, DEVICES, DEVICES_SIZE, device_read, m, device_write, m) == UC_ERR_OK &&
           a->mmio_map(m->uc, after, LAPIC_BASE - after, void_read, m, void_write, m) == UC_ERR_OK &&
           a->mmio_map(m->uc, LAPIC_BASE, PAGE, lapic_read, m, lapic_write, m) == UC_ERR_OK &&
           a->mmio_map(m->uc, LAPIC_BASE + PAGE, PCI_HIGH_MEMORY - LAPIC_BASE - PAGE, void_read, m, void_write, m) == UC_ERR_OK &&
           a->mmio_map(m->uc, high, PHYSICAL_END - high, void_read, m, void_write, m) == UC_ERR_OK;
}
