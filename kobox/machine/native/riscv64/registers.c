/* Registers as Python sees them. */
#include "cpu.h"

enum { REG_PC = 32, REG_PRIV, REG_STATUS, REG_SATP, REG_STVAL, REG_SCAUSE, REG_SEPC, REG_COUNT };

/* 0-31 X0-X31, 32 PC, 33 the privilege mode, 34 sstatus, 35 satp, 36 stval, 37 scause, 38 sepc */
EXPORT uint64_t kobox_register(struct machine *m, int n)
{
    switch (n) {
    case REG_PC: return live_pc(m);
    case REG_PRIV: return live64(m, AT_PRIV);
    case REG_STATUS: return live64(m, AT_MSTATUS);
    case REG_SATP: return live64(m, AT_SATP);
    case REG_STVAL: return live64(m, AT_STVAL);
    case REG_SCAUSE: return live64(m, AT_SCAUSE);
    case REG_SEPC: return live64(m, AT_SEPC);
    default: return n >= 0 && n < REGISTERS ? live_reg(m, (unsigned)n) : 0;
    }
}

EXPORT void kobox_registers(struct machine *m, uint64_t *out)
{
    for (int n = 0; n < REG_COUNT; n++)
        out[n] = kobox_register(m, n);
}

/* What a kernel guards itself with: stvec. */
EXPORT int kobox_guards(struct machine *m, uint64_t *out, int room)
{
    if (room < 1)
        return 0;
    out[0] = live64(m, AT_STVEC);
    return 1;
}

void jump_to(struct machine *m, uint64_t pc)
{
    m->api.reg_write(m->uc, UC_RISCV_REG_PC, &pc);
    m->pc = pc;
}

EXPORT void kobox_set_register(struct machine *m, int n, uint64_t value)
{
    if (n > 0 && n < REGISTERS)
        set_live_reg(m, (unsigned)n, value);
    else if (n == REG_PC)
        jump_to(m, value);
}
