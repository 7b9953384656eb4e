/* Registers and virtual memory as Python sees them, and the CPU at the start of a kernel. */
#include "cpu.h"

enum { REG_PC = 32, REG_PSTATE, REG_SP_EL0, REG_TPIDR_EL0, REG_TTBR0, REG_TTBR1, REG_FAR, REG_ESR, REG_ELR, REG_COUNT };

EXPORT uint64_t kobox_register(struct machine *m, int n)
{
    switch (n) {
    case REG_PC: return live64(m, AT_PC);
    case REG_PSTATE: return pstate(m);
    case REG_SP_EL0: return read_system(m, 3, 0, 4, 1, 0);
    case REG_TPIDR_EL0: return read_system(m, 3, 3, 13, 0, 2);
    case REG_TTBR0: return live64(m, AT_TTBR0 + EL1);
    case REG_TTBR1: return live64(m, AT_TTBR1 + EL1);
    case REG_FAR: return live64(m, AT_FAR + EL1);
    case REG_ESR: return live64(m, AT_ESR + EL1);
    case REG_ELR: return live64(m, AT_ELR + EL1);
    default: return n >= 0 && n <= SP ? live_reg(m, (unsigned)n) : 0;
    }
}

/* 0-30 X0-X30, 31 SP, 32 PC, 33 PSTATE, 34 SP_EL0, 35 TPIDR_EL0, 36 TTBR0_EL1, 37 TTBR1_EL1, 38 FAR_EL1, 39 ESR_EL1, 40 ELR_EL1 */
/* What a kernel guards itself with: SCTLR_EL1, VBAR_EL1. */
EXPORT int kobox_guards(struct machine *m, uint64_t *out, int room)
{
    if (room < 2)
        return 0;
    out[0] = read_system(m, 3, 0, 1, 0, 0);
    out[1] = read_system(m, 3, 0, 12, 0, 0);
    return 2;
}

EXPORT void kobox_registers(struct machine *m, uint64_t *out)
{
    for (int n = 0; n < REG_COUNT; n++)
        out[n] = kobox_register(m, n);
}

void jump_to(struct machine *m, uint64_t pc)
{
    m->api.reg_write(m->uc, UC_ARM64_REG_PC, &pc);
    m->pc = pc;
}

EXPORT void kobox_set_register(struct machine *m, int n, uint64_t value)
{
    if (n >= 0 && n <= SP) {
        *at64(m->cpu, AT_XREGS + 8 * (size_t)n) = value;
    } else if (n == REG_PC) {
        jump_to(m, value);
    } else if (n == REG_TPIDR_EL0) {
        write_system(m, 3, 3, 13, 0, 2, value);
    }
}

/*
 * The CPU as Documentation/arch/arm64/booting.rst wants it: EL1, paging and caches off, interrupts masked, X0 at the device tree.
 * Above EL1 there is nobody, but SCR_EL3 and HCR_EL2 have to say that EL1 is non-secure AArch64 and may call HVC.
 */
EXPORT void kobox_start_at(struct machine *m, uint64_t entry, uint64_t tree, uint64_t unused, uint64_t unused_too)
{
    (void)unused, (void)unused_too;
    write_system(m, 3, 6, 1, 1, 0, 1 << 17 | 1 << 16 | 1 << 10 | 1 << 8 | 1 << 5 | 1 << 4 | 1); /* SCR_EL3: API APK RW HCE RES1 NS */
    write_system(m, 3, 4, 1, 1, 0, 1ull << 41 | 1ull << 40 | 1ull << 31);                     /* HCR_EL2: API APK RW */
    write_system(m, 3, 6, 1, 1, 2, 1 << 8);                                                  /* CPTR_EL3: EZ */
    set_pstate(m, PSTATE_EL1H_MASKED);
    memset(m->cpu + AT_XREGS, 0, 32 * 8);
    *at64(m->cpu, AT_XREGS) = tree;
    refresh(m);
    *at64(m->cpu, AT_PC) = entry;
    m->pc = entry;
}
