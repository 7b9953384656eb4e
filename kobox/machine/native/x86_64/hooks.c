/* The CPU is made, and its instructions that are ours are hooked. */
#include "cpu.h"

bool open_cpu(struct machine *m)
{
    return m->api.open(UC_ARCH_X86, UC_MODE_64, &m->uc) == UC_ERR_OK &&
           m->api.ctl(m->uc, UC_CTL_WRITE(UC_CTL_CPU_MODEL, 1), UC_CPU_X86_WESTMERE) == UC_ERR_OK &&
           m->api.ctl(m->uc, UC_CTL_WRITE(UC_CTL_TCG_BUFFER_SIZE, 1), TRANSLATION_BYTES) == UC_ERR_OK &&
           m->api.ctl(m->uc, UC_CTL_WRITE(UC_CTL_UC_USE_EXITS, 1), 1) == UC_ERR_OK;
}

bool hook_cpu(struct machine *m)
{
    static const struct { int insn; void *callback; } table[] = {
        {UC_X86_INS_RDTSC, (void *)on_rdtsc}, {UC_X86_INS_RDTSCP, (void *)on_rdtscp},
        {UC_X86_INS_IN, (void *)on_port_read}, {UC_X86_INS_OUT, (void *)on_port_write},
        {UC_X86_INS_SYSCALL, (void *)on_syscall}, {UC_X86_INS_CPUID, (void *)on_cpuid},
    };
    const struct unicorn_api *a = &m->api;
    uc_hook h;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (a->hook_add(m->uc, &h, UC_HOOK_INSN, table[i].callback, m, 1, 0, table[i].insn) != UC_ERR_OK)
            return false;
    return a->hook_add(m->uc, &h, UC_HOOK_INTR, (void *)on_exception, m, 1, 0) == UC_ERR_OK &&
           a->hook_add(m->uc, &h, UC_HOOK_INSN_INVALID, (void *)on_invalid, m, 1, 0) == UC_ERR_OK;
}
