/* The CPU's state as Unicorn keeps it, CPUARMState: verified, read, written. */
#include "cpu.h"

uint32_t pstate(const struct machine *m)
{
    uint32_t value = 0;
    m->api.reg_read(m->uc, UC_ARM64_REG_PSTATE, &value);
    return value;
}

/* Unicorn does not work out anew what follows from PSTATE: refresh(), or another write of a system register, has it do so. */
void set_pstate(struct machine *m, uint32_t value) { m->api.reg_write(m->uc, UC_ARM64_REG_PSTATE, &value); }

void write_system(struct machine *m, int op0, int op1, int crn, int crm, int op2, uint64_t value)
{
    uc_arm64_cp_reg r = {.op0 = op0, .op1 = op1, .crn = crn, .crm = crm, .op2 = op2, .val = value};
    m->api.reg_write(m->uc, UC_ARM64_REG_CP_REG, &r);
}

uint64_t read_system(const struct machine *m, int op0, int op1, int crn, int crm, int op2)
{
    uc_arm64_cp_reg r = {.op0 = op0, .op1 = op1, .crn = crn, .crm = crm, .op2 = op2};
    return m->api.reg_read(m->uc, UC_ARM64_REG_CP_REG, &r) == UC_ERR_OK ? r.val : 0;
}

void refresh(struct machine *m) { write_system(m, 3, 4, 13, 0, 2, 0); /* TPIDR_EL2: nobody's */ }

void with_paging_off(struct machine *m, void (*action)(struct machine *))
{
    uint64_t *sctlr = at64(m->cpu, AT_SCTLR + EL1), before = *sctlr;
    *sctlr &= ~SCTLR_M;
    refresh(m);
    m->api.ctl(m->uc, UC_CTL_WRITE(UC_CTL_TLB_FLUSH, 0));
    action(m);
    *sctlr = before;
    refresh(m);
    m->api.ctl(m->uc, UC_CTL_WRITE(UC_CTL_TLB_FLUSH, 0));
}

bool open_cpu(struct machine *m)
{
    return m->api.open(UC_ARCH_ARM64, UC_MODE_ARM, &m->uc) == UC_ERR_OK &&
           m->api.ctl(m->uc, UC_CTL_WRITE(UC_CTL_CPU_MODEL, 1), UC_CPU_ARM64_A72) == UC_ERR_OK &&
           m->api.ctl(m->uc, UC_CTL_WRITE(UC_CTL_UC_PAGE_SIZE, 1), (uint32_t)PAGE) == UC_ERR_OK &&
           m->api.ctl(m->uc, UC_CTL_WRITE(UC_CTL_TCG_BUFFER_SIZE, 1), TRANSLATION_BYTES) == UC_ERR_OK &&
           m->api.ctl(m->uc, UC_CTL_WRITE(UC_CTL_UC_USE_EXITS, 1), 1) == UC_ERR_OK;
}

/* Whether the registers that are reached directly are where they should be. */
bool has_fields(struct machine *m, const uint8_t *env)
{
    uint64_t vbar = 0x123456789ABCD800, far = 0xF0DEBC9A78563412, found[2];
    m->api.reg_write(m->uc, UC_ARM64_REG_VBAR_EL1, &vbar);
    m->api.reg_write(m->uc, UC_ARM64_REG_FAR_EL1, &far);
    memcpy(&found[0], env + AT_VBAR + EL1, 8);
    memcpy(&found[1], env + AT_FAR + EL1, 8);
    return found[0] == vbar && found[1] == far;
}
