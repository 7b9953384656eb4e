/* IN and OUT: whether a program may use the port, then the PC's bus. */
#include "cpu.h"

/*
 * Whether a program uses a port that it has no right to (SDM volume 1, "I/O permission bit map": IOPL, then the bitmap in the
 * TSS). Unicorn does not ask. The instruction is in the middle of a translation, so the fault is delivered when that has
 * ended, with the CPU put back to what it was.
 */
static bool port_denied(struct machine *m, uint32_t port, int size)
{
    if ((read_reg(m, UC_X86_REG_CS) & 3) == 0 || (read_reg(m, UC_X86_REG_EFLAGS) >> 12 & 3) == 3)
        return false;
    env_load(m);
    uint64_t cr3 = *at64(m->env, AT_CR + 24), tss = *at64(m->env, AT_TR + 8);
    uint32_t limit = *at32(m->env, AT_TR + 16);
    uint16_t at = 0, bits = 0xFFFF;
    if (limit >= 0x67 && copy_virtual(m, cr3, tss + 0x66, &at, 2, false) && at + port / 8 + 1 <= limit)
        copy_virtual(m, cr3, tss + at + port / 8, &bits, 2, false);
    if (!(bits >> (port & 7) & ((1u << size) - 1)))
        return false;
    if (!m->denied) {
        memcpy(m->offender, m->env, m->env_size);
        m->denied = true;
    }
    kick(m);
    m->api.emu_stop(m->uc);
    return true;
}

uint32_t on_port_read(uc_engine *uc, uint32_t port, int size, void *user)
{
    (void)uc;
    struct machine *m = user;
    return port_denied(m, port, size) ? 0 : pc_port_read(m, port, size);
}

void on_port_write(uc_engine *uc, uint32_t port, int size, uint32_t value, void *user)
{
    (void)uc;
    struct machine *m = user;
    if (!port_denied(m, port, size))
        pc_port_write(m, port, value, size);
}

/* A general protection fault for the program that was denied a port, if there is one. */
bool deliver_denied(struct machine *m)
{
    if (!m->denied)
        return false;
    memcpy(m->env, m->offender, m->env_size);
    env_store(m);
    m->denied = false;
    m->event = EV_NONE;
    m->dev.exceptions[13]++;
    deliver(m, 13, true, 0);
    return true;
}
