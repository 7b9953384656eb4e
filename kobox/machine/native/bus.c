/*
 * The bus of a machine: physical addresses where nothing answers, and the registers of devices that Python models.
 */
#include "machine.h"

/* Where nothing answers: reads give ones, writes are lost, as on a PC's bus. */
uint64_t void_read(uc_engine *uc, uint64_t offset, unsigned size, void *user)
{
    (void)uc, (void)offset, (void)user;
    return size >= 8 ? ~0ull : (1ull << size * 8) - 1;
}

void void_write(uc_engine *uc, uint64_t offset, unsigned size, uint64_t value, void *user)
{
    (void)uc, (void)offset, (void)size, (void)value, (void)user;
}

/* The registers of a device are read or written that Python models on PCI, or that is plugged into a board. */
uint64_t ask_model(struct machine *m, enum pci_space space, uint64_t at, unsigned size, uint64_t value, bool write)
{
    uint64_t ones = void_read(NULL, at, size, NULL);
    m->budget -= ACCESS_NS / NS_PER_BLOCK;
    spend(m, CALLBACK_COST);
    m->pci_reads += !write;
    uint64_t answer = m->on_pci ? m->on_pci(space, at, size, value, write) & ones : ones;
    if (m->device_read && !write)
        m->device_read(m, answer, size);
    return answer;
}

uint64_t device_read(uc_engine *uc, uint64_t offset, unsigned size, void *user)
{
    (void)uc;
    struct machine *m = user;
    spend(m, CALLBACK_COST);
    m->pci_reads++;
    uint64_t answer = m->on_device ? m->on_device(offset, size, 0, 0) : ~0ull;
    if (m->device_read)
        m->device_read(m, answer, size);
    return answer;
}

void device_write(uc_engine *uc, uint64_t offset, unsigned size, uint64_t value, void *user)
{
    (void)uc;
    struct machine *m = user;
    spend(m, CALLBACK_COST);
    if (m->on_device)
        m->on_device(offset, size, value, 1);
}

EXPORT void kobox_on_device(struct machine *m, device_callback callback) { m->on_device = callback; }

/* They share one interrupt. A second request while the first is being handled makes a second interrupt: none is lost. */
EXPORT void kobox_device_interrupt(struct machine *m) { m->platform->device_interrupt(m); }

/* From a device's callback: make kobox_run() come back before the next block. */
EXPORT void kobox_device_event(struct machine *m)
{
    m->event = EV_DEVICE;
    kick(m);
}

/* A device has written RAM by itself: code that was translated from there is out of date. */
EXPORT void kobox_device_wrote(struct machine *m, uint64_t address, uint64_t size)
{
    uint64_t last = address + size - 1;
    if (!size || last < address || address >= m->ram_size)
        return;
    last = last < m->ram_size ? last : m->ram_size - 1;
    for (uint64_t page = address / PAGE; page <= last / PAGE; page++)
        if (bit_of(m->code_pages, page)) {
            drop_code_page(m, page);
            kick(m);
        }
}
