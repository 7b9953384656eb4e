/* The CPU as Unicorn makes it, and as the firmware leaves it to a kernel. */
#include "cpu.h"

bool open_cpu(struct machine *m)
{
    return m->api.open(UC_ARCH_RISCV, UC_MODE_RISCV64, &m->uc) == UC_ERR_OK &&
           m->api.ctl(m->uc, UC_CTL_WRITE(UC_CTL_TCG_BUFFER_SIZE, 1), TRANSLATION_BYTES) == UC_ERR_OK &&
           m->api.ctl(m->uc, UC_CTL_WRITE(UC_CTL_UC_USE_EXITS, 1), 1) == UC_ERR_OK;
}

void refresh(struct machine *m) { (void)m; /* nothing is derived */ }

/* In machine mode addresses are physical. */
void with_paging_off(struct machine *m, void (*action)(struct machine *))
{
    uint64_t before = live64(m, AT_PRIV);
    *at64(m->cpu, AT_PRIV) = MACHINE_MODE;
    m->api.ctl(m->uc, UC_CTL_WRITE(UC_CTL_TLB_FLUSH, 0));
    action(m);
    *at64(m->cpu, AT_PRIV) = before;
    m->api.ctl(m->uc, UC_CTL_WRITE(UC_CTL_TLB_FLUSH, 0));
}

bool has_fields(struct machine *m, const uint8_t *env)
{
    uint64_t value = 0x123456789ABCDEF0, priv;
    m->api.reg_write(m->uc, UC_RISCV_REG_STVEC, &value);
    m->api.reg_write(m->uc, UC_RISCV_REG_SCAUSE, &value);
    memcpy(&priv, env + AT_PRIV, 8);
    return priv == MACHINE_MODE && !memcmp(env + AT_STVEC, &value, 8) && !memcmp(env + AT_SCAUSE, &value, 8);
}

/*
 * The CPU as Documentation/arch/riscv/boot.rst wants it: supervisor mode, paging off, A0 the hart's number, A1 at the device tree.
 * Machine mode, which nobody is in, has left interrupts and exceptions to it (medeleg, mideleg).
 */
EXPORT void kobox_start_at(struct machine *m, uint64_t entry, uint64_t tree, uint64_t unused, uint64_t unused_too)
{
    (void)unused, (void)unused_too;
    uint64_t counters = 7; /* TM, CY, IR: whoever reads one is answered in traps.c */
    m->api.reg_write(m->uc, UC_RISCV_REG_MCOUNTEREN, &counters);
    memset(m->cpu + AT_XREGS, 0, 32 * 8);
    *at64(m->cpu, AT_MIDELEG) = 0x222;
    *at64(m->cpu, AT_MEDELEG) = 0xB1FF;
    *at64(m->cpu, AT_STVEC) = *at64(m->cpu, AT_SCAUSE) = 0;
    set_live_reg(m, R_ARGUMENT + 1, tree);
    *at64(m->cpu, AT_PRIV) = SUPERVISOR_MODE;
    *at64(m->cpu, AT_MSTATUS) = 0xA00000000; /* UXL and SXL: 64 bits */
    set_live_pc(m, entry);
}
