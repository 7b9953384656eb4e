/* Registers and virtual memory as Python sees them, and the CPU at the start of a kernel. */
#include "cpu.h"

/* 0-15 RAX RCX RDX RBX RSP RBP RSI RDI R8-R15, 16 RIP, 17 RFLAGS, 18 CR0, 19 CR2, 20 CR3, 21 CR4, 22 CS, 23 SS, 24 GS base,
 * 25 FS base, 26 CPL */
EXPORT void kobox_registers(struct machine *m, uint64_t *out)
{
    const struct segment *segs = (const struct segment *)(m->cpu + AT_SEGS);
    memcpy(out, m->cpu + AT_REGS, 128);
    out[16] = read_reg(m, UC_X86_REG_RIP);
    out[17] = read_reg(m, UC_X86_REG_EFLAGS) & 0xFFFFFFFF;
    out[18] = live64(m, AT_CR);
    out[19] = live64(m, AT_CR + 16);
    out[20] = live64(m, AT_CR + 24);
    out[21] = live64(m, AT_CR + 32);
    out[22] = segs[SEG_CS].selector;
    out[23] = segs[SEG_SS].selector;
    out[24] = segs[SEG_GS].base;
    out[25] = segs[SEG_FS].base;
    out[26] = live_cpl(m);
}

/*
 * What a kernel guards itself with: CR0, CR4, EFER, STAR, LSTAR, CSTAR, SFMASK, SYSENTER_EIP, base of the IDT, DR0 to DR3, DR7.
 * Numbers of MSRs: arch/x86/include/asm/msr-index.h.
 */
EXPORT int kobox_guards(struct machine *m, uint64_t *out, int room)
{
    static const uint32_t msrs[] = {0xC0000080, 0xC0000081, 0xC0000082, 0xC0000083, 0xC0000084, 0x176};
    int n = 0;
    if (room < 14)
        return 0;
    out[n++] = live64(m, AT_CR);
    out[n++] = live64(m, AT_CR + 32);
    for (size_t i = 0; i < sizeof msrs / sizeof *msrs; i++) {
        uc_x86_msr msr = {.rid = msrs[i]};
        m->api.reg_read(m->uc, UC_X86_REG_MSR, &msr);
        out[n++] = msr.value;
    }
    out[n++] = live64(m, AT_IDT + 8);
    for (size_t i = 0; i < 4; i++)
        out[n++] = live64(m, AT_DR + 8 * i);
    out[n++] = live64(m, AT_DR + 56);
    return n;
}

static const int register_ids[18] = {
    UC_X86_REG_RAX, UC_X86_REG_RCX, UC_X86_REG_RDX, UC_X86_REG_RBX, UC_X86_REG_RSP, UC_X86_REG_RBP, UC_X86_REG_RSI,
    UC_X86_REG_RDI, UC_X86_REG_R8, UC_X86_REG_R9, UC_X86_REG_R10, UC_X86_REG_R11, UC_X86_REG_R12, UC_X86_REG_R13,
    UC_X86_REG_R14, UC_X86_REG_R15, UC_X86_REG_RIP, UC_X86_REG_FS_BASE,
};

#define REGISTERS ((int)(sizeof register_ids / sizeof *register_ids))

EXPORT uint64_t kobox_register(struct machine *m, int n) { return read_reg(m, register_ids[n]); }

EXPORT void kobox_set_register(struct machine *m, int n, uint64_t value)
{
    if (n < 0 || n >= REGISTERS)
        return;
    write_reg(m, register_ids[n], value);
    if (n == 16)
        m->pc = value;
}

/* A call that is put in between leaves the return address on the stack: there is nothing to keep. */
EXPORT void kobox_keep_link(struct machine *m, uint64_t entry) { (void)m, (void)entry; }

EXPORT uint64_t kobox_translate(struct machine *m, uint64_t va, int access)
{
    return walk(m, read_reg(m, UC_X86_REG_CR3), va, (enum access)access);
}

EXPORT int kobox_copy(struct machine *m, uint64_t va, void *data, uint64_t n, int write)
{
    return copy_virtual(m, live_cr3(m), va, data, n, write);
}

EXPORT int kobox_copy_space(struct machine *m, uint64_t cr3, uint64_t va, void *data, uint64_t n, int write)
{
    return copy_virtual(m, cr3, va, data, n, write);
}

EXPORT uint8_t *kobox_ram(struct machine *m) { return m->ram; }
EXPORT uint64_t kobox_cr3(struct machine *m) { return read_reg(m, UC_X86_REG_CR3); }

EXPORT void kobox_statistics(struct machine *m, uint64_t *out)
{
    memcpy(out, m->dev.exceptions, sizeof m->dev.exceptions);
    out[32] = m->dev.interrupts;
    out[33] = m->dev.syscalls;
    out[34] = m->blocks;
}

/* Leave the function that was just entered, with `value` in RAX. */
bool leave_function(struct machine *m, uint64_t value)
{
    uint64_t rsp = read_reg(m, UC_X86_REG_RSP), to;
    if (!copy_virtual(m, live_cr3(m), rsp, &to, 8, false))
        return false;
    write_reg(m, UC_X86_REG_RAX, value);
    write_reg(m, UC_X86_REG_RSP, rsp + 8);
    write_reg(m, UC_X86_REG_RIP, to);
    return true;
}

/* Change an argument of the function that was just entered. */
void set_argument(struct machine *m, unsigned n, uint64_t value)
{
    static const uint8_t order[ARGUMENTS] = {R_RDI, R_RSI, R_RDX, R_RCX, R_R8, R_R9};
    if (n < ARGUMENTS)
        kobox_set_register(m, order[n], value);
}

/* Go to where a function begins, with the stack pointer that it had then: its return address is there still. */
void enter_function(struct machine *m, uint64_t function, uint64_t sp, uint64_t site)
{
    (void)site;
    kobox_set_register(m, R_RSP, sp);
    kobox_set_register(m, 16, function);
}

/* The frame of an interrupt: RIP, CS, RFLAGS, RSP, SS (Intel SDM volume 3, "Stack switching in IA-32e mode"). */
bool interrupted_at(struct machine *m, uint64_t *pc, uint64_t *sp)
{
    uint64_t frame[4];
    if (!copy_virtual(m, live_cr3(m), live_sp(m), frame, sizeof frame, false))
        return false;
    *pc = frame[0];
    *sp = frame[3];
    return true;
}

/* The CPU as the 64-bit boot protocol wants it: long mode, paging on, flat segments, RSI at the zero page. */
EXPORT void kobox_start_at(struct machine *m, uint64_t entry, uint64_t zero_page, uint64_t gdt, uint64_t cr3)
{
    uc_x86_mmr table = {.base = gdt, .limit = 39};
    uc_x86_msr efer = {.rid = 0xC0000080, .value = 0xD00};
    m->api.reg_write(m->uc, UC_X86_REG_GDTR, &table);
    write_reg(m, UC_X86_REG_CR3, cr3);
    write_reg(m, UC_X86_REG_CR4, 0x620);
    m->api.reg_write(m->uc, UC_X86_REG_MSR, &efer);
    write_reg(m, UC_X86_REG_CR0, 0x80050033);
    write_reg(m, UC_X86_REG_DS, 0x18);
    write_reg(m, UC_X86_REG_ES, 0x18);
    write_reg(m, UC_X86_REG_SS, 0x18);
    write_reg(m, UC_X86_REG_CS, 0x10);
    write_reg(m, UC_X86_REG_RSI, zero_page);
    write_reg(m, UC_X86_REG_EFLAGS, 2);
    write_reg(m, UC_X86_REG_RIP, entry);
    m->pc = entry;
}
