/* Delivery of exceptions and interrupts (Intel SDM volume 3, chapter "Interrupt and exception handling"). */
#include "cpu.h"

void enter_ring0(struct machine *m, uint16_t cs, uint16_t ss, uint32_t ss_flags)
{
    uint32_t *hflags = at32(m->cpu, AT_HFLAGS);
    *hflags = (*hflags & ~(uint32_t)(HF_CPL | HF_ADDSEG)) | HF_CS32 | HF_SS32 | HF_CS64;
    *segment_at(m->cpu, SEG_CS) = (struct segment){.selector = cs, .limit = ~0u, .flags = CODE64_FLAGS};
    *segment_at(m->cpu, SEG_SS) = (struct segment){.selector = ss, .limit = ss_flags ? ~0u : 0, .flags = ss_flags};
}

/* Push one frame for `vector` and point the CPU at its gate. False: it cannot be pushed. */
static bool push_frame(struct machine *m, int vector, bool has_error, uint32_t error, uint64_t flags)
{
    uint64_t cr3 = live_cr3(m), gate[2], idt = *at64(m->cpu, AT_IDT + 8);
    if (!copy_virtual(m, cr3, idt + (uint64_t)vector * 16, gate, 16, false) || !(gate[0] >> 47 & 1))
        return false;
    uint16_t cs = segment_at(m->cpu, SEG_CS)->selector, ss = segment_at(m->cpu, SEG_SS)->selector;
    unsigned ist = gate[0] >> 32 & 7, cpl = live_cpl(m);
    uint64_t rsp = *at64(m->cpu, AT_REGS + 8 * R_RSP), top = rsp;
    if (ist || cpl) {
        uint64_t slot = *at64(m->cpu, AT_TR + 8) + (ist ? 0x24 + 8 * (ist - 1) : 4);
        if (!copy_virtual(m, cr3, slot, &top, 8, false))
            return false;
    }
    uint64_t frame[6] = {error, *at64(m->cpu, AT_EIP), cs, flags, rsp, ss};
    uint64_t size = has_error ? 48 : 40, sp = (top & ~15ull) - size;
    if (!copy_virtual(m, cr3, sp, has_error ? frame : frame + 1, size, true))
        return false;
    if (cpl)
        enter_ring0(m, gate[0] >> 16 & 0xFFFC, 0, 0);
    else
        segment_at(m->cpu, SEG_CS)->selector = gate[0] >> 16 & 0xFFFF;
    *at64(m->cpu, AT_REGS + 8 * R_RSP) = sp;
    *at64(m->cpu, AT_EIP) = (gate[0] & 0xFFFF) | (gate[0] >> 32 & 0xFFFF0000) | gate[1] << 32;
    *at32(m->cpu, AT_HFLAGS) &= ~(uint32_t)HF_INHIBIT_IRQ;
    *at32(m->cpu, AT_OLD_EXCEPTION) = ~0u;
    return true;
}

/* Deliver an exception or interrupt. The frame itself may be what faults: then it is a double fault, as on the real thing. */
void deliver(struct machine *m, int vector, bool has_error, uint32_t error)
{
    uint64_t flags = read_reg(m, UC_X86_REG_EFLAGS) & 0xFFFFFFFF;
    bool pushed = push_frame(m, vector, has_error, error, flags) || push_frame(m, 8, true, 0, flags);
    m->pc = live64(m, AT_EIP);
    if (!pushed) {
        m->event = EV_TRIPLE;
        m->api.emu_stop(m->uc);
        return;
    }
    write_reg(m, UC_X86_REG_EFLAGS, (flags & ~(uint64_t)(FLAG_TF | FLAG_IF | FLAG_NT | FLAG_RF | FLAG_VM)) | 2);
}

/* Whether a program may not raise this vector by INT: its gate is the kernel's. */
static bool gate_forbidden(struct machine *m, int vector)
{
    uint64_t gate;
    unsigned cpl = live_cpl(m);
    return copy_virtual(m, live_cr3(m), *at64(m->cpu, AT_IDT + 8) + (uint64_t)vector * 16, &gate, 8, false) &&
           (gate >> 45 & 3) < cpl;
}

void on_exception(uc_engine *uc, uint32_t vector, void *user)
{
    struct machine *m = user;
    bool software = *at32(m->cpu, AT_IS_INT);
    uint32_t error = *at32(m->cpu, AT_ERROR_CODE);
    bool strange = vector == 14 && !software && *at32(m->cpu, AT_OLD_EXCEPTION) != 14;
    if (software && gate_forbidden(m, vector)) {
        uint64_t eip = *at64(m->cpu, AT_EIP);
        uint8_t code[2];
        if (copy_virtual(m, live_cr3(m), eip - 2, code, 2, false) && code[0] == 0xCD && code[1] == vector)
            *at64(m->cpu, AT_EIP) = eip - 2; /* a fault is that of the instruction itself */
        software = false;
        error = vector * 8 + 2;
        vector = 13;
    }
    if (strange) {
        fail(m, "this Unicorn keeps its CPU state elsewhere than kobox knows (exception in flight)");
        m->api.emu_stop(uc);
        return;
    }
    m->dev.exceptions[vector & 31]++;
    /* A trap gate would leave IF alone; Linux has interrupt gates only (arch/x86/kernel/idt.c). */
    bool has_error = !software && (vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21);
    deliver(m, vector, has_error, has_error ? error : 0);
    spend_event(m);
}

bool on_invalid(uc_engine *uc, void *user)
{
    (void)uc;
    struct machine *m = user;
    m->dev.exceptions[6]++;
    deliver(m, 6, false, 0);
    spend_event(m);
    return true;
}
