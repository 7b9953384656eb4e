/* CPUID: a 64-bit PC with SSE4.2, AES and a 1 GHz invariant TSC, under a hypervisor that says nothing more; and the hypercall. */
#include "cpu.h"

/*
 * Whether the CPUID at `at` is a hypercall: that of kobox's own processes, or of its program run by the kernel as /sbin/modprobe.
 * Any other program that executes the same instruction finds an unknown leaf of CPUID.
 */
static bool is_hypercall(struct machine *m, uint64_t at)
{
    if (!m->hypercall_at)
        return !(at >> 47);
    uint64_t cr3 = read_reg(m, UC_X86_REG_CR3) & PTE_ADDRESS;
    if (at != m->hypercall_at || cr3 == m->home)
        return at == m->hypercall_at;
    uint8_t code[sizeof m->agent];
    uint64_t start = at - sizeof code / 2;
    return copy_virtual(m, cr3, start, code, sizeof code, false) && !memcmp(code, m->agent, sizeof code) &&
           walk(m, cr3, at, WRITE) == (uint64_t)-1;
}

/* ---- CPUID: a 64-bit PC with SSE4.2, AES and a 1 GHz invariant TSC, under a hypervisor that says nothing more --------- */
int on_cpuid(uc_engine *uc, void *user)
{
    struct machine *m = user;
    uint32_t leaf = read_reg(m, UC_X86_REG_EAX), out[4] = {0, 0, 0, 0};
    switch (leaf) {
    case HYPERCALL: {
        if (!is_hypercall(m, read_reg(m, UC_X86_REG_RIP)))
            break;
        m->event = EV_HYPERCALL;
        m->api.emu_stop(uc);
        return 1;
    }
    case 0:
        out[0] = 0x16, out[1] = 0x756E6547, out[3] = 0x49656E69, out[2] = 0x6C65746E; /* GenuineIntel */
        break;
    case 1:
        /* SSE3 PCLMULQDQ SSSE3 CX16 SSE4.1 SSE4.2 POPCNT AES HYPERVISOR */
        out[0] = 0x000206C1, out[1] = 0x00010800 | (uint32_t)m->cpus.current << 24, out[2] = 0x82982203, out[3] = 0x078BFBFF;
        break;
    case 4:
        break;
    case 6:
        out[0] = 4; /* the APIC timer never stops */
        break;
    case 7:
        break;
    case 0x15:
        out[0] = out[1] = 1, out[2] = TSC_HZ; /* crystal, and the ratio of the TSC to it */
        break;
    case 0x16:
        out[0] = out[1] = TSC_HZ / 1000000, out[2] = 100;
        break;
    case 0x40000000:
        out[0] = 0x40000000, out[1] = 0x6F626F6B, out[2] = 0x6F626F6B, out[3] = 0x20202078;
        break;
    case 0x80000000:
        out[0] = 0x80000008;
        break;
    case 0x80000001:
        out[2] = 1, out[3] = 0x20100800; /* LAHF; SYSCALL, NX, long mode */
        break;
    case 0x80000002:
        memcpy(out, "kobox emulated P", 16);
        break;
    case 0x80000003:
        memcpy(out, "C\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16);
        break;
    case 0x80000007:
        out[3] = 0x100; /* invariant TSC */
        break;
    case 0x80000008:
        out[0] = 0x3028; /* 40 bits physical, 48 bits virtual */
        break;
    default:
        break;
    }
    write_reg(m, UC_X86_REG_RAX, out[0]);
    write_reg(m, UC_X86_REG_RBX, out[1]);
    write_reg(m, UC_X86_REG_RCX, out[2]);
    write_reg(m, UC_X86_REG_RDX, out[3]);
    return 1;
}

EXPORT void kobox_set_hypercall(struct machine *m, uint64_t at)
{
    m->hypercall_at = at;
    m->home = read_reg(m, UC_X86_REG_CR3) & PTE_ADDRESS;
    copy_virtual(m, m->home, at - sizeof m->agent / 2, m->agent, sizeof m->agent, false);
}
