/* The hypercall: HLT #0x6b6f at EL0, which is undefined for every program but kobox's own. */
#include "cpu.h"

/*
 * Whether the instruction at `at` is a hypercall: that of kobox's own processes, or of its program run by the kernel as
 * /sbin/modprobe. Any other program that executes the same instruction gets SIGILL.
 */
bool is_hypercall(struct machine *m, uint64_t at)
{
    uint32_t word;
    uint64_t space = address_space(m);
    if (pstate(m) & PSTATE_EL || !copy_virtual(m, space, at, &word, sizeof word, false) || word != HYPERCALL)
        return false;
    if (!m->hypercall_at)
        return true;
    if (at != m->hypercall_at || space == m->home)
        return at == m->hypercall_at;
    uint8_t code[sizeof m->agent];
    return copy_virtual(m, space, at - sizeof code / 2, code, sizeof code, false) && !memcmp(code, m->agent, sizeof code) &&
           walk(m, space, at, WRITE) == (uint64_t)-1;
}

EXPORT void kobox_set_hypercall(struct machine *m, uint64_t at)
{
    m->hypercall_at = at;
    m->home = address_space(m);
    copy_virtual(m, m->home, at - sizeof m->agent / 2, m->agent, sizeof m->agent, false);
}

/*
 * Make the process that made the hypercall do one system call: registers are set, and it is left at its SVC instruction.
 * kobox_run() does the rest.
 */
EXPORT void kobox_set_syscall(struct machine *m, uint64_t at, const uint64_t *call)
{
    *at64(m->cpu, AT_XREGS + 8 * 8) = call[0];
    for (unsigned n = 0; n < 6; n++)
        *at64(m->cpu, AT_XREGS + 8 * n) = call[1 + n];
    *at64(m->cpu, AT_PC) = at;
    m->pc = at;
}

EXPORT uint64_t kobox_syscalls(struct machine *m) { return m->dev.syscalls; }

/* A number that changes whenever a program has made a system call, or runs code of its own. */
EXPORT uint64_t kobox_progress(struct machine *m) { return pstate(m) & PSTATE_EL ? m->dev.syscalls : ~m->blocks; }
