/* The time stamp counter: one tick a virtual nanosecond. */
#include "cpu.h"

int on_rdtsc(uc_engine *uc, void *user)
{
    (void)uc;
    struct machine *m = user;
    uint64_t t = read_clock(m);
    write_reg(m, UC_X86_REG_RAX, (uint32_t)t);
    write_reg(m, UC_X86_REG_RDX, t >> 32);
    return 1;
}

int on_rdtscp(uc_engine *uc, void *user)
{
    struct machine *m = user;
    on_rdtsc(uc, user);
    write_reg(m, UC_X86_REG_RCX, 0);
    return 1;
}
