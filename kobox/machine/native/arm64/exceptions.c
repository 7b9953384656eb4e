/* Exceptions are taken to EL1 (Arm ARM, AArch64.TakeException), and PSCI answers HVC (Arm DEN 0022). */
#include "cpu.h"

enum { UNDEFINED = 1, SVC = 2, PREFETCH_ABORT = 3, DATA_ABORT = 4, BREAKPOINT = 7, HVC = 11, SMC = 13 }; /* QEMU's EXCP_* */
enum { FROM_SP0 = 0, FROM_SPX = 0x200, FROM_EL0 = 0x400 };
enum { PSCI_VERSION = 0x84000000u, PSCI_MIGRATE_TYPE = 0x84000006u, PSCI_OFF = 0x84000008u, PSCI_RESET = 0x84000009u };

/* Go to EL1's vector: `vector` is 0 for a synchronous exception, 0x80 for an interrupt. */
void enter_kernel(struct machine *m, unsigned vector)
{
    uint32_t old = pstate(m), fresh = PSTATE_EL1H_MASKED | (old & PSTATE_PAN);
    unsigned from = !(old & PSTATE_EL) ? FROM_EL0 : old & PSTATE_SP ? FROM_SPX : FROM_SP0;
    uint64_t *sp = at64(m->cpu, AT_XREGS + 8 * SP);
    *at64(m->cpu, AT_SP_EL + (old & PSTATE_SP ? EL1 : 0)) = *sp;
    *at64(m->cpu, AT_ELR + EL1) = live64(m, AT_PC);
    set_pstate(m, fresh);
    *sp = live64(m, AT_SP_EL + EL1);
    write_system(m, 3, 0, 4, 0, 0, old); /* SPSR_EL1; and what follows from PSTATE is worked out anew */
    *at64(m->cpu, AT_PC) = m->pc = live64(m, AT_VBAR + EL1) + vector + from;
}

static void call_firmware(struct machine *m)
{
    uint64_t *x0 = at64(m->cpu, AT_XREGS);
    switch ((uint32_t)*x0) {
    case PSCI_VERSION: *x0 = 2; return; /* 0.2 */
    case PSCI_MIGRATE_TYPE: *x0 = 2; return; /* there is no trusted OS */
    case PSCI_OFF: case PSCI_RESET:
        m->event = EV_RESET;
        m->api.emu_stop(m->uc);
        return;
    default: *x0 = (uint64_t)-1; /* NOT_SUPPORTED */
    }
}

void on_exception(uc_engine *uc, uint32_t number, void *user)
{
    struct machine *m = user;
    uint64_t pc = live64(m, AT_PC);
    m->dev.exceptions[number & 31]++;
    spend_event(m);
    switch (number) {
    case HVC: case SMC:
        call_firmware(m);
        return;
    case UNDEFINED:
        if (is_hypercall(m, pc)) {
            *at64(m->cpu, AT_PC) = pc + 4;
            m->event = EV_HYPERCALL;
            m->api.emu_stop(uc);
            return;
        }
        break;
    case SVC:
        m->dev.syscalls++;
        rest(m);
        break;
    case PREFETCH_ABORT: case DATA_ABORT:
        *at64(m->cpu, AT_FAR + EL1) = live64(m, AT_VADDRESS);
        break;
    case BREAKPOINT:
        break;
    default:
        fail(m, "exception %u at %#lx", number, (unsigned long)pc);
        m->api.emu_stop(uc);
        return;
    }
    *at64(m->cpu, AT_ESR + EL1) = *at32(m->cpu, AT_SYNDROME);
    enter_kernel(m, 0);
}

bool hook_cpu(struct machine *m)
{
    uc_hook h;
    return m->api.hook_add(m->uc, &h, UC_HOOK_INTR, (void *)on_exception, m, 1, 0) == UC_ERR_OK && hook_system_registers(m);
}
