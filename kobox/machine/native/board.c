/*
 * A board that a device tree announces: its memory map, and the registers of devices that Python models.
 *
 *     0 .. ram_size     RAM
 *     0xFD000000        devices that are plugged in, on inputs of their own
 *     0xFEA00000        devices that Python models, a page each, on one interrupt
 *     elsewhere         what the board says (`board_regions`), or nothing answers
 */
#include "processor.h"

#define PLUGGED_BASE 0xFD000000ull
#define PLUGGED_SIZE 0x1000000ull

/* Registers of devices that are plugged in: Python has them (kobox/machine/platform.py). */
static uint64_t plugged_read(uc_engine *uc, uint64_t at, unsigned size, void *user)
{
    (void)uc;
    return ask_model(user, PCI_SPACE_MEMORY, PLUGGED_BASE + at, size, 0, false);
}

static void plugged_write(uc_engine *uc, uint64_t at, unsigned size, uint64_t value, void *user)
{
    (void)uc;
    ask_model(user, PCI_SPACE_MEMORY, PLUGGED_BASE + at, size, value, true);
}

static bool map_region(struct machine *m, const struct region *r)
{
    return r->start == r->end || m->api.mmio_map(m->uc, r->start, r->end - r->start, r->read, m, r->write, m) == UC_ERR_OK;
}

static int by_address(const void *a, const void *b)
{
    const struct region *left = a, *right = b;
    return left->start < right->start ? -1 : left->start > right->start;
}

bool map_board(struct machine *m)
{
    struct region all[MAX_REGIONS + 2] = {
        {PLUGGED_BASE, PLUGGED_BASE + PLUGGED_SIZE, plugged_read, plugged_write},
        {DEVICES, DEVICES + DEVICES_SIZE, device_read, device_write},
    };
    size_t count = 2 + board_regions(all + 2);
    uint64_t end = m->ram_size;
    qsort(all, count, sizeof *all, by_address);
    if (!m->ram_size || m->ram_size & (PAGE - 1) || m->ram_size > all[0].start)
        return false;
    if (m->api.map_ptr(m->uc, 0, m->ram_size, UC_PROT_ALL, m->ram) != UC_ERR_OK)
        return false;
    for (size_t n = 0; n < count; n++) {
        if (!map_region(m, &(struct region){end, all[n].start, void_read, void_write}) || !map_region(m, &all[n]))
            return false;
        end = all[n].end;
    }
    return map_region(m, &(struct region){end, PHYSICAL_END, void_read, void_write});
}

/* There is no PCI bus: the device tree announces none, so nothing of the kernel's ever looks at one. */
EXPORT void kobox_on_pci(struct machine *m, pci_callback callback) { m->on_pci = callback; }
EXPORT int kobox_pci_message(struct machine *m, uint64_t address, uint32_t data) { return (void)m, (void)address, (void)data, -1; }
EXPORT int kobox_pci_store(struct machine *m, uint64_t at, uint64_t size, uint8_t *bytes) { return (void)m, (void)at, (void)size, (void)bytes, -1; }
EXPORT void kobox_pci_forget_stores(struct machine *m) { (void)m; }
EXPORT void kobox_pci_all_ports(struct machine *m, int wanted) { (void)m, (void)wanted; }
EXPORT void kobox_pci_line(struct machine *m, int line, int high) { board_line(m, (unsigned)line, high); }
EXPORT void kobox_pci_pulse(struct machine *m, int line) { (void)m, (void)line; }
EXPORT uint64_t kobox_due(struct machine *m) { return m->platform->next_due(m); }
