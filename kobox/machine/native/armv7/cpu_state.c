/* The CPU's state as Unicorn keeps it, CPUARMState: verified, read, written. */
#include "cpu.h"

uint32_t cpsr(const struct machine *m)
{
    uint32_t value = 0;
    m->api.reg_read(m->uc, UC_ARM_REG_CPSR, &value);
    return value;
}

/* Unicorn changes the banks of registers as the mode does, and works out anew what it derives from the state. */
void set_cpsr(struct machine *m, uint32_t value) { m->api.reg_write(m->uc, UC_ARM_REG_CPSR, &value); }

uint32_t read_system(const struct machine *m, int crn, int crm, int op1, int op2)
{
    uc_arm_cp_reg r = {.cp = 15, .crn = (uint32_t)crn, .crm = (uint32_t)crm, .opc1 = (uint32_t)op1, .opc2 = (uint32_t)op2};
    return m->api.reg_read(m->uc, UC_ARM_REG_CP_REG, &r) == UC_ERR_OK ? (uint32_t)r.val : 0;
}

void write_system(struct machine *m, int crn, int crm, int op1, int op2, uint32_t value)
{
    uc_arm_cp_reg r = {
        .cp = 15, .crn = (uint32_t)crn, .crm = (uint32_t)crm, .opc1 = (uint32_t)op1, .opc2 = (uint32_t)op2, .val = value,
    };
    m->api.reg_write(m->uc, UC_ARM_REG_CP_REG, &r);
}

void refresh(struct machine *m) { set_cpsr(m, cpsr(m)); }

void with_paging_off(struct machine *m, void (*action)(struct machine *))
{
    uint32_t *sctlr = at32(m->cpu, AT_SCTLR), before = *sctlr;
    *sctlr &= ~(uint32_t)SCTLR_M;
    refresh(m);
    m->api.ctl(m->uc, UC_CTL_WRITE(UC_CTL_TLB_FLUSH, 0));
    action(m);
    *sctlr = before;
    refresh(m);
    m->api.ctl(m->uc, UC_CTL_WRITE(UC_CTL_TLB_FLUSH, 0));
}

bool open_cpu(struct machine *m)
{
    return m->api.open(UC_ARCH_ARM, UC_MODE_ARM, &m->uc) == UC_ERR_OK &&
           m->api.ctl(m->uc, UC_CTL_WRITE(UC_CTL_CPU_MODEL, 1), UC_CPU_ARM_CORTEX_A15) == UC_ERR_OK &&
           m->api.ctl(m->uc, UC_CTL_WRITE(UC_CTL_UC_PAGE_SIZE, 1), (uint32_t)PAGE) == UC_ERR_OK &&
           m->api.ctl(m->uc, UC_CTL_WRITE(UC_CTL_TCG_BUFFER_SIZE, 1), TRANSLATION_BYTES) == UC_ERR_OK &&
           m->api.ctl(m->uc, UC_CTL_WRITE(UC_CTL_UC_USE_EXITS, 1), 1) == UC_ERR_OK;
}

/* Whether the registers that are reached directly are where they should be. */
bool has_fields(struct machine *m, const uint8_t *env)
{
    uint32_t sp = 0x12345670, supervisor = MODE_SUPERVISOR | CPSR_I, interrupt = MODE_IRQ | CPSR_I, found[4];
    set_cpsr(m, supervisor);
    m->api.reg_write(m->uc, UC_ARM_REG_SP, &sp);
    set_cpsr(m, interrupt);
    write_system(m, 6, 0, 0, 0, 0xF0DEBC98);  /* DFAR */
    write_system(m, 12, 0, 0, 0, 0x89ABCD00); /* VBAR */
    memcpy(&found[0], env + AT_BANKED_SP + 4 * BANK_SUPERVISOR, 4);
    memcpy(&found[1], env + AT_DFAR, 4);
    memcpy(&found[2], env + AT_VBAR, 4);
    memcpy(&found[3], env + AT_CPSR, 4);
    set_cpsr(m, supervisor);
    return found[0] == sp && found[1] == 0xF0DEBC98 && found[2] == 0x89ABCD00 && (found[3] & MODE_MASK) == MODE_IRQ;
}

/*
 * The CPU as Documentation/arch/arm/booting.rst wants it: supervisor mode, paging off, interrupts masked, R1 no machine's number, R2 at
 * the device tree.
 */
EXPORT void kobox_start_at(struct machine *m, uint64_t entry, uint64_t tree, uint64_t unused, uint64_t unused_too)
{
    (void)unused, (void)unused_too;
    memset(m->cpu + AT_REGS, 0, 16 * 4);
    set_cpsr(m, MODE_SUPERVISOR | CPSR_I | CPSR_A | 0x40);
    write_system(m, 6, 0, 0, 0, 0);
    write_system(m, 12, 0, 0, 0, 0);
    set_live_reg(m, 1, ~0u);
    set_live_reg(m, 2, tree);
    set_live_pc(m, entry);
}
