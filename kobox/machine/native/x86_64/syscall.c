/* Entry of SYSCALL (Intel SDM volume 2, SYSCALL), and which calls bring new code. */
#include "cpu.h"

/* execve, execveat, ptrace; mmap and mprotect of what may be executed */
static bool brings_code(uint64_t number, uint64_t third)
{
    return number == 59 || number == 322 || number == 101 || ((number == 9 || number == 10) && third & 4);
}

/* init_module, finit_module; a BPF program of bpf(), seccomp() or setsockopt(), which lies where modules do */
static bool brings_kernel_code(struct machine *m, uint64_t number)
{
    uint64_t option = live_reg(m, R_RDX);
    return number == 175 || number == 313 || (number == 321 && live_reg(m, R_RDI) == 5) || number == 317 ||
           (number == 54 && live_reg(m, R_RSI) == 1 && (option == 26 || option == 50));
}

void on_syscall(uc_engine *uc, void *user)
{
    (void)uc;
    struct machine *m = user;
    uint64_t number = live_reg(m, R_RAX);
    if (brings_kernel_code(m, number))
        forget_module_code(m);
    if (brings_code(number, live_reg(m, R_RDX)))
        forget_changed_code(m);
    bool wide = *at32(m->cpu, AT_HFLAGS) & HF_CS64; /* a 32-bit program enters through CSTAR */
    uc_x86_msr msr[3] = {{.rid = 0xC0000081}, {.rid = wide ? 0xC0000082 : 0xC0000083}, {.rid = 0xC0000084}};
    uint64_t flags = read_reg(m, UC_X86_REG_EFLAGS) & 0xFFFFFFFF;
    for (int i = 0; i < 3; i++)
        m->api.reg_read(m->uc, UC_X86_REG_MSR, &msr[i]);
    uint16_t cs = msr[0].value >> 32 & 0xFFFC;
    *at64(m->cpu, AT_REGS + 8 * R_RCX) = *at64(m->cpu, AT_EIP) + 2;
    *at64(m->cpu, AT_REGS + 8 * R_R11) = flags & ~(uint64_t)FLAG_RF;
    *at64(m->cpu, AT_EIP) = msr[1].value - 2; /* Unicorn adds the length of SYSCALL when we return */
    enter_ring0(m, cs, cs + 8, DATA_FLAGS);
    write_reg(m, UC_X86_REG_EFLAGS, (flags & ~(msr[2].value | FLAG_RF)) | 2);
    m->dev.syscalls++;
    rest(m);
}

/*
 * Make the process that made the hypercall do one system call: registers are set, and it is left at its SYSCALL
 * instruction. kobox_run() does the rest.
 */
EXPORT void kobox_set_syscall(struct machine *m, uint64_t at, const uint64_t *call)
{
    static const int order[7] = {R_RAX, R_RDI, R_RSI, R_RDX, R_R10, R_R8, R_R9};
    for (int i = 0; i < 7; i++)
        *at64(m->cpu, AT_REGS + 8 * order[i]) = call[i];
    *at64(m->cpu, AT_EIP) = at;
    m->pc = at;
}

EXPORT uint64_t kobox_syscalls(struct machine *m) { return m->dev.syscalls; }

/* A number that changes whenever a program has made a system call, or runs code of its own. */
EXPORT uint64_t kobox_progress(struct machine *m) { return live_cpl(m) ? ~m->blocks : m->dev.syscalls; }
