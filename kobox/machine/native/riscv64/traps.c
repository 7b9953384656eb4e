/* Traps are taken to supervisor mode (RISC-V Privileged Architecture, "Supervisor Trap Vector Base Address Register"). */
#include "cpu.h"

enum { ILLEGAL = 2, BREAKPOINT = 3, CALL = 8 }; /* from whatever mode */
enum { CSR_CYCLE = 0xC00, CSR_TIME, CSR_INSTRET };

void take_trap(struct machine *m, uint64_t cause, uint64_t value)
{
    uint64_t s = live64(m, AT_MSTATUS), vector = live64(m, AT_STVEC);
    s = (s & ~(uint64_t)(STATUS_SPIE | STATUS_SPP | STATUS_SIE)) | (s & STATUS_SIE ? STATUS_SPIE : 0) |
        (in_user_mode(m) ? 0 : STATUS_SPP);
    *at64(m->cpu, AT_MSTATUS) = s;
    *at64(m->cpu, AT_SCAUSE) = cause;
    *at64(m->cpu, AT_SEPC) = live_pc(m);
    *at64(m->cpu, AT_STVAL) = value;
    *at64(m->cpu, AT_PRIV) = SUPERVISOR_MODE;
    *at64(m->cpu, AT_RESERVATION) = -1; /* SC fails */
    set_live_pc(m, (vector & ~3ull) + (cause >> 63 && (vector & 3) == 1 ? (cause & 63) * 4 : 0));
}

/* The instruction at the program counter, of two or four bytes. 0: it is not mapped. */
static uint32_t instruction(struct machine *m)
{
    uint32_t word = 0;
    uint64_t pc = live_pc(m), space = address_space(m);
    if (!copy_virtual(m, space, pc, &word, 2, false) || (word & 3) != 3)
        return word;
    return copy_virtual(m, space, pc + 2, (uint8_t *)&word + 2, 2, false) ? word : 0;
}

/* RDTIME, RDCYCLE and RDINSTRET: Unicorn has no time, and its cycles would be the host's. */
static bool read_counter(struct machine *m, uint32_t word)
{
    unsigned csr = word >> 20, target = word >> 7 & 31;
    if ((word & 0xFF07F) != 0x2073 || csr < CSR_CYCLE || csr > CSR_INSTRET) /* CSRRS rd, csr, x0 */
        return false;
    uint64_t value = csr == CSR_TIME ? read_time(m) : m->blocks + (uint64_t)(m->granted - m->budget);
    if (target)
        set_live_reg(m, target, value);
    *at64(m->cpu, AT_PC) += 4;
    return true;
}

static void on_illegal(struct machine *m)
{
    uint32_t word = instruction(m);
    if (read_counter(m, word))
        return;
    if (word == HYPERCALL && is_hypercall(m, live_pc(m))) {
        *at64(m->cpu, AT_PC) += 4;
        m->event = EV_HYPERCALL;
        m->api.emu_stop(m->uc);
        return;
    }
    take_trap(m, ILLEGAL, word);
}

static void on_exception(uc_engine *uc, uint32_t cause, void *user)
{
    (void)uc;
    struct machine *m = user;
    if (cause != BREAKPOINT)
        *at64(m->cpu, AT_PC) -= 4; /* Unicorn adds 4 to the program counter of every exception, breakpoints apart */
    m->dev.exceptions[cause & 31]++;
    spend_event(m);
    switch (cause) {
    case CALL:
        if (in_user_mode(m)) {
            m->dev.syscalls++;
            rest(m);
            take_trap(m, cause, 0);
            return;
        }
        *at64(m->cpu, AT_PC) += 4;
        call_firmware(m);
        return;
    case ILLEGAL: on_illegal(m); return;
    case BREAKPOINT: take_trap(m, cause, live_pc(m)); return;
    default: take_trap(m, cause, live64(m, AT_BAD_ADDRESS));
    }
}

/* EBREAK comes to the hook for invalid instructions, and although it was dealt with, Unicorn calls it an error when it is stopped
 * next: that is at once, so that this one error, and no other, is passed over (run_loop.c). */
static bool on_breakpoint(uc_engine *uc, void *user)
{
    struct machine *m = user;
    on_exception(uc, BREAKPOINT, user);
    m->excused = true;
    m->budget = -1;
    m->api.emu_stop(uc);
    return true;
}

bool hook_cpu(struct machine *m)
{
    uc_hook h;
    return m->api.hook_add(m->uc, &h, UC_HOOK_INTR, (void *)on_exception, m, 1, 0) == UC_ERR_OK &&
           m->api.hook_add(m->uc, &h, UC_HOOK_INSN_INVALID, (void *)on_breakpoint, m, 1, 0) == UC_ERR_OK;
}
