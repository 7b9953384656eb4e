/* Exceptions are taken to the modes of AArch32 (Arm ARM for ARMv7-A, B1.8), and PSCI answers SMC (Arm DEN 0022). */
#include "cpu.h"

enum { UNDEFINED = 1, SVC = 2, PREFETCH_ABORT = 3, DATA_ABORT = 4, BREAKPOINT = 7, HVC = 11, SMC = 13 }; /* QEMU's EXCP_* */
enum { VECTOR_UNDEFINED = 4, VECTOR_SVC = 8, VECTOR_PREFETCH = 12, VECTOR_DATA = 16, VECTOR_IRQ = 24 };
enum { PSCI_VERSION = 0x84000000u, PSCI_MIGRATE_TYPE = 0x84000006u, PSCI_OFF = 0x84000008u, PSCI_RESET = 0x84000009u };
#define NO_SYNDROME 0x7FFFFFFFu /* no exception has this one: WFE and YIELD leave it as it was */

/* Go to a mode's vector: `back` is what is added to the program counter for the link register. */
static void enter_kernel(struct machine *m, uint32_t mode, uint32_t vector, uint32_t back, uint32_t masked)
{
    uint32_t old = cpsr(m), link = (uint32_t)live_pc(m) + back;
    set_cpsr(m, (old & ~(uint32_t)(MODE_MASK | CPSR_CLEARED)) | mode | masked);
    m->api.reg_write(m->uc, UC_ARM_REG_SPSR, &old);
    set_live_reg(m, R_LINK, link);
    set_live_pc(m, (live32(m, AT_SCTLR) & SCTLR_V ? 0xFFFF0000u : live32(m, AT_VBAR)) + vector);
}

void take_interrupt(struct machine *m, int line)
{
    (void)line; /* the kernel asks the GIC */
    m->dev.interrupts++;
    enter_kernel(m, MODE_IRQ, VECTOR_IRQ, 4, CPSR_I | CPSR_A);
}

static void call_firmware(struct machine *m)
{
    switch ((uint32_t)live_reg(m, 0)) {
    case PSCI_VERSION: case PSCI_MIGRATE_TYPE: set_live_reg(m, 0, 2); return; /* 0.2; there is no trusted OS */
    case PSCI_OFF: case PSCI_RESET:
        m->event = EV_RESET;
        m->api.emu_stop(m->uc);
        return;
    default: set_live_reg(m, 0, ~0u); /* NOT_SUPPORTED */
    }
}

static void on_undefined(struct machine *m)
{
    uint64_t pc = live_pc(m);
    bool thumb = live32(m, AT_THUMB) & 1;
    if (!thumb && is_hypercall(m, pc)) {
        set_live_pc(m, pc + 4);
        m->dev.exceptions[UNDEFINED]--; /* it is none */
        m->event = EV_HYPERCALL;
        m->api.emu_stop(m->uc);
        return;
    }
    enter_kernel(m, MODE_UNDEFINED, VECTOR_UNDEFINED, thumb ? 2 : 4, CPSR_I);
}

static void on_exception(uc_engine *uc, uint32_t number, void *user)
{
    struct machine *m = user;
    uint32_t status = live32(m, AT_FSR), address = live32(m, AT_VADDRESS);
    m->dev.exceptions[number & 31]++;
    spend_event(m);
    switch (number) {
    case HVC: case SMC: call_firmware(m); break;
    case UNDEFINED: on_undefined(m); break;
    case SVC:
        m->dev.syscalls++;
        rest(m);
        enter_kernel(m, MODE_SUPERVISOR, VECTOR_SVC, 0, CPSR_I);
        break;
    case BREAKPOINT: case PREFETCH_ABORT:
        *at32(m->cpu, AT_IFSR) = status;
        *at32(m->cpu, AT_IFAR) = address;
        enter_kernel(m, MODE_ABORT, VECTOR_PREFETCH, 4, CPSR_I | CPSR_A);
        break;
    case DATA_ABORT:
        *at32(m->cpu, AT_DFSR) = status;
        *at32(m->cpu, AT_DFAR) = address;
        enter_kernel(m, MODE_ABORT, VECTOR_DATA, 8, CPSR_I | CPSR_A);
        break;
    default:
        fail(m, "exception %u at %#lx", number, (unsigned long)live_pc(m));
        m->api.emu_stop(uc);
    }
    *at32(m->cpu, AT_SYNDROME) = NO_SYNDROME;
}

/*
 * Undefined instructions come to the hook for invalid ones, and so do WFE and YIELD, which are none. Although they are dealt with,
 * Unicorn may call them an error when it is stopped next: that is at once, so that this one error, and no other, is passed over.
 */
static bool on_invalid(uc_engine *uc, void *user)
{
    struct machine *m = user;
    if (live32(m, AT_SYNDROME) != NO_SYNDROME)
        on_exception(uc, UNDEFINED, user);
    m->excused = true;
    m->budget = -1;
    m->api.emu_stop(uc);
    return true;
}

bool hook_cpu(struct machine *m)
{
    uc_hook h;
    return m->api.hook_add(m->uc, &h, UC_HOOK_INTR, (void *)on_exception, m, 1, 0) == UC_ERR_OK &&
           m->api.hook_add(m->uc, &h, UC_HOOK_INSN_INVALID, (void *)on_invalid, m, 1, 0) == UC_ERR_OK;
}
