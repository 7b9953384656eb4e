/*
 * MRS, MSR and SYS: the counter, the virtual timer, and what software says of changed code.
 *
 * Unicorn's counter follows the host's clock, and its timer throws what is written away. Its translations do not follow
 * every change of code; but the architecture has software say by IC when code has changed, and that is when they are dropped.
 */
#include "cpu.h"

#define KEY(op0, op1, crn, crm, op2) ((op0) << 14 | (op1) << 11 | (crn) << 7 | (crm) << 3 | (op2))
enum {
    CNTPCT = KEY(3, 3, 14, 0, 1), CNTVCT = KEY(3, 3, 14, 0, 2), CNTV_TVAL = KEY(3, 3, 14, 3, 0), CNTV_CTL = KEY(3, 3, 14, 3, 1),
    CNTV_CVAL = KEY(3, 3, 14, 3, 2),
};

static uint32_t key_of(const uc_arm64_cp_reg *r) { return KEY(r->op0, r->op1, r->crn, r->crm, r->op2); }

static void set_x(struct machine *m, uc_arm64_reg reg, uint64_t value)
{
    int n = reg == UC_ARM64_REG_X29 ? 29 : reg == UC_ARM64_REG_X30 ? 30 : reg == UC_ARM64_REG_XZR ? -1 : (int)(reg - UC_ARM64_REG_X0);
    if (n >= 0 && n <= 30)
        *at64(m->cpu, AT_XREGS + 8 * (size_t)n) = value;
}

/* Reading the counter takes some nanoseconds, never the same: code that gathers entropy from that finds some, and all of it
 * is the same in every run. */
static uint64_t read_counter(struct machine *m) { return read_clock(m) / NS_PER_TICK; }

static uint32_t on_mrs(uc_engine *uc, uc_arm64_reg reg, const uc_arm64_cp_reg *r, void *user)
{
    (void)uc;
    struct machine *m = user;
    uint64_t ticks = now(m) / NS_PER_TICK;
    switch (key_of(r)) {
    case CNTPCT: case CNTVCT: set_x(m, reg, read_counter(m)); return 1;
    case CNTV_TVAL: set_x(m, reg, (uint32_t)(m->dev.timer_value - ticks)); return 1;
    case CNTV_CTL: set_x(m, reg, m->dev.timer_control | ((m->dev.timer_control & 1 && ticks >= m->dev.timer_value) ? 4 : 0)); return 1;
    case CNTV_CVAL: set_x(m, reg, m->dev.timer_value); return 1;
    default: return 0;
    }
}

static uint32_t on_msr(uc_engine *uc, uc_arm64_reg reg, const uc_arm64_cp_reg *r, void *user)
{
    (void)uc, (void)reg;
    struct machine *m = user;
    switch (key_of(r)) {
    case CNTV_TVAL: m->dev.timer_value = now(m) / NS_PER_TICK + (uint64_t)(int64_t)(int32_t)r->val; break;
    case CNTV_CTL: m->dev.timer_control = r->val & 3; break;
    case CNTV_CVAL: m->dev.timer_value = r->val; break;
    default: return 0;
    }
    kick(m);
    return 1;
}

/* IC IVAU names a line of code by its address, IC IALLU and IC IALLUIS mean all of it. */
static uint32_t on_sys(uc_engine *uc, uc_arm64_reg reg, const uc_arm64_cp_reg *r, void *user)
{
    (void)uc, (void)reg;
    struct machine *m = user;
    if (r->crn != 7 || (r->crm != 5 && r->crm != 1))
        return 0;
    if (r->op1 == 3 && r->crm == 5) {
        uint64_t page = walk(m, address_space(m), r->val, READ) / PAGE;
        if (page >= m->ram_size / PAGE || !bit_of(m->code_pages, page))
            return 0;
        drop_code_page(m, page);
        kick(m);
    } else if (r->op1 == 0 && r->op2 == 0) {
        m->all_stale = true;
        kick(m);
    }
    return 0;
}

bool hook_system_registers(struct machine *m)
{
    uc_hook h;
    return m->api.hook_add(m->uc, &h, UC_HOOK_INSN, (void *)on_mrs, m, 1, 0, UC_ARM64_INS_MRS) == UC_ERR_OK &&
           m->api.hook_add(m->uc, &h, UC_HOOK_INSN, (void *)on_msr, m, 1, 0, UC_ARM64_INS_MSR) == UC_ERR_OK &&
           m->api.hook_add(m->uc, &h, UC_HOOK_INSN, (void *)on_sys, m, 1, 0, UC_ARM64_INS_SYS) == UC_ERR_OK;
}
