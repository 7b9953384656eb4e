/* The time stamp counter: one tick a virtual nanosecond. */
#include "cpu.h"

/* Reading the TSC takes a few nanoseconds, never the same: code that gathers entropy from that finds some, and all of it
 * is the same in every run. */
int on_rdtsc(uc_engine *uc, void *user)
{
    (void)uc;
    struct machine *m = user;
    m->dev.jitter = m->dev.jitter * 6364136223846793005ull + 1442695040888963407ull;
    m->dev.time += m->dev.jitter >> 58;
    uint64_t t = now(m);
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
