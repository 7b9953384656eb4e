/*
 * PCI as the CPU sees it: configuration mechanism #1 and the windows in which devices' registers lie. What answers there is
 * Python's (kobox/machine/pci.py). Source: PCI Local Bus Specification 3.0, 3.2.2.3 and 6.2.5.1; MSI: Intel SDM volume 3,
 * "Message Signalled Interrupts".
 *
 *     port 0xCF8      which register of which function: 1 bus slot function register 00
 *     port 0xCFC      that register
 *     0xC000 ..       ports of devices' I/O BARs
 *     0xE0000000 ..   memory of devices' BARs, and above 4 GiB for those of 64 bits
 */
#include "machine.h"

static uint64_t all_ones(unsigned size) { return size >= 8 ? ~0ull : (1ull << size * 8) - 1; }

/* Where a byte of memory on a card is kept; NULL for registers. */
static uint8_t *stored(struct machine *m, uint64_t at, unsigned size)
{
    for (int n = 0; n < PCI_STORES; n++)
        if (at - m->pci_store[n].at < m->pci_store[n].size && size <= m->pci_store[n].size - (at - m->pci_store[n].at))
            return m->pci_store[n].bytes + (at - m->pci_store[n].at);
    return NULL;
}

static uint64_t memory(struct machine *m, uint64_t at, unsigned size, uint64_t value, bool write)
{
    uint8_t *bytes = stored(m, at, size);
    if (!bytes)
        return ask_model(m, PCI_SPACE_MEMORY, at, size, value, write);
    spend(m, 1);
    if (write)
        memcpy(bytes, &value, size);
    else
        memcpy(&value, bytes, size);
    return value;
}

static uint64_t memory_read(uc_engine *uc, uint64_t offset, unsigned size, void *user)
{
    (void)uc;
    return memory(user, PCI_MEMORY + offset, size, 0, false);
}

static void memory_write(uc_engine *uc, uint64_t offset, unsigned size, uint64_t value, void *user)
{
    (void)uc;
    memory(user, PCI_MEMORY + offset, size, value, true);
}

static uint64_t high_memory_read(uc_engine *uc, uint64_t offset, unsigned size, void *user)
{
    (void)uc;
    return memory(user, PCI_HIGH_MEMORY + offset, size, 0, false);
}

static void high_memory_write(uc_engine *uc, uint64_t offset, unsigned size, uint64_t value, void *user)
{
    (void)uc;
    memory(user, PCI_HIGH_MEMORY + offset, size, value, true);
}

bool pci_map(struct machine *m)
{
    const struct unicorn_api *a = &m->api;
    return a->mmio_map(m->uc, PCI_MEMORY, PCI_MEMORY_SIZE, memory_read, m, memory_write, m) == UC_ERR_OK &&
           a->mmio_map(m->uc, PCI_HIGH_MEMORY, PCI_HIGH_MEMORY_SIZE, high_memory_read, m, high_memory_write, m) == UC_ERR_OK;
}

bool pci_has_port(uint32_t port) { return port == 0xCF8 || (port & ~3u) == 0xCFC || port >= PCI_PORTS; }

uint32_t pci_port_read(struct machine *m, uint32_t port, int size)
{
    if (port == 0xCF8)
        return size == 4 ? m->dev.pci_address : (uint32_t)all_ones(size);
    if (port >= PCI_PORTS)
        return (uint32_t)ask_model(m, PCI_SPACE_PORTS, port, size, 0, false);
    if (!(m->dev.pci_address >> 31))
        return (uint32_t)all_ones(size);
    return (uint32_t)ask_model(m, PCI_SPACE_CONFIG, (m->dev.pci_address & 0xFFFFFC) | (port & 3), size, 0, false);
}

void pci_port_write(struct machine *m, uint32_t port, uint32_t value, int size)
{
    if (port == 0xCF8) {
        if (size == 4)
            m->dev.pci_address = value;
    } else if (port >= PCI_PORTS)
        ask_model(m, PCI_SPACE_PORTS, port, size, value, true);
    else if (m->dev.pci_address >> 31)
        ask_model(m, PCI_SPACE_CONFIG, (m->dev.pci_address & 0xFFFFFC) | (port & 3), size, value, true);
}

/* A port that no device has: PCI is asked what it says, while somebody plays what may be there; else there are ones. */
uint32_t pci_other_port(struct machine *m, uint32_t port, int size)
{
    if (m->pci_all_ports)
        return (uint32_t)ask_model(m, PCI_SPACE_PORTS, port, (unsigned)size, 0, false);
    return (uint32_t)all_ones((unsigned)size);
}

EXPORT void kobox_pci_all_ports(struct machine *m, int wanted) { m->pci_all_ports = wanted; }

EXPORT void kobox_on_pci(struct machine *m, pci_callback callback) { m->on_pci = callback; }

/* The `size` bytes at an address are memory on a card, kept in `bytes`, which stay the caller's: 0, or -1 when there are too many
 * such places. */
EXPORT int kobox_pci_store(struct machine *m, uint64_t at, uint64_t size, uint8_t *bytes)
{
    for (int n = 0; n < PCI_STORES; n++)
        if (!m->pci_store[n].size) {
            m->pci_store[n].at = at, m->pci_store[n].size = size, m->pci_store[n].bytes = bytes;
            return 0;
        }
    return -1;
}

EXPORT void kobox_pci_forget_stores(struct machine *m) { memset(m->pci_store, 0, sizeof m->pci_store); }

/* A device writes `data` to an address: an interrupt, when it is the local APIC's. Whether it was one. */
EXPORT int kobox_pci_message(struct machine *m, uint64_t address, uint32_t data)
{
    if (address >> 20 != 0xFEE || (data & 0xFF) < 16)
        return 0;
    lapic_raise(m, lapic_addressed(m, address >> 12 & 0xFF, address >> 2 & 1), data & 0xFF);
    return 1;
}

/* The level of a wired interrupt, and one that is raised and at once taken back. */
EXPORT void kobox_pci_line(struct machine *m, int irq, int level) { pic_level(m, irq & 15, level); }
EXPORT void kobox_pci_pulse(struct machine *m, int irq) { pic_pulse(m, irq & 15); }
