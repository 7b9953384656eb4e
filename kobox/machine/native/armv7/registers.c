/* Registers as Python sees them. */
#include "cpu.h"

enum { REG_CPSR = 16, REG_THREAD, REG_TTBR0, REG_TTBR1, REG_DFAR, REG_DFSR, REG_COUNT };

/* 0-12 R0-R12, 13 SP, 14 LR, 15 PC, 16 CPSR, 17 TPIDRURO, 18 TTBR0, 19 TTBR1, 20 DFAR, 21 DFSR */
EXPORT uint64_t kobox_register(struct machine *m, int n)
{
    switch (n) {
    case REG_CPSR: return cpsr(m);
    case REG_THREAD: return read_system(m, 13, 0, 0, 3);
    case REG_TTBR0: return live32(m, AT_TTBR0);
    case REG_TTBR1: return live32(m, AT_TTBR1);
    case REG_DFAR: return live32(m, AT_DFAR);
    case REG_DFSR: return live32(m, AT_DFSR);
    default: return n >= 0 && n < REGISTERS ? live_reg(m, (unsigned)n) : 0;
    }
}

EXPORT void kobox_registers(struct machine *m, uint64_t *out)
{
    for (int n = 0; n < REG_COUNT; n++)
        out[n] = kobox_register(m, n);
}

/* What a kernel guards itself with: SCTLR, VBAR. */
EXPORT int kobox_guards(struct machine *m, uint64_t *out, int room)
{
    if (room < 2)
        return 0;
    out[0] = live32(m, AT_SCTLR);
    out[1] = live32(m, AT_VBAR);
    return 2;
}

void jump_to(struct machine *m, uint64_t pc)
{
    uint32_t value = (uint32_t)pc;
    m->api.reg_write(m->uc, UC_ARM_REG_PC, &value);
    m->pc = pc;
}

EXPORT void kobox_set_register(struct machine *m, int n, uint64_t value)
{
    if (n >= 0 && n < R_PC)
        set_live_reg(m, (unsigned)n, value);
    else if (n == R_PC)
        jump_to(m, value);
    else if (n == REG_THREAD)
        write_system(m, 13, 0, 0, 3, (uint32_t)value);
}
