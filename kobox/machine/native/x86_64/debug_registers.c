/*
 * Hardware breakpoints and watchpoints, DR0 to DR7 (Intel SDM volume 3, chapter "Debug, branch profile, TSC"). Unicorn keeps the
 * registers and does nothing with them.
 *
 *     DR7 changes --next block--> with any of the four enabled: hooks on every instruction and every access, as long as
 *                                 some are, and for a while after (the kernel clears DR7 in each #DB, and sets it again)
 *     an access that matches  --> noted; the instruction is carried out; #DB before the next one (a trap)
 *     an instruction that matches --> #DB before it, unless RF is set (a fault)
 *
 * While none is in use, that costs one comparison a block. While some are, all code runs several times slower.
 */
#include "cpu.h"

#define BREAKPOINTS 4
#define DR(n) (AT_DR + 8 * (size_t)(n))
#define IDLE_BLOCKS 5000000u /* after so many with none enabled the hooks go */
#define DR6_HITS 0xFull
#define DR6_SINGLE_STEP (1ull << 14)

enum when { ON_EXECUTION, ON_WRITE, ON_PORT, ON_ACCESS };

static bool is_enabled(uint64_t dr7, int n) { return dr7 >> (2 * n) & 3; }
static enum when when_of(uint64_t dr7, int n) { return (enum when)(dr7 >> (16 + 4 * n) & 3); }

static uint64_t length_of(uint64_t dr7, int n)
{
    static const uint8_t lengths[4] = {1, 2, 8, 4};
    return lengths[dr7 >> (18 + 4 * n) & 3];
}

/* Have the run loop raise #DB, with the CPU before the instruction at `pc`. */
static void raise_debug(struct machine *m, uint64_t pc)
{
    m->debug_pc = pc;
    m->debug_pending = true;
    m->api.emu_stop(m->uc);
}

static void on_each_instruction(uc_engine *uc, uint64_t pc, uint32_t size, void *user)
{
    (void)uc, (void)size;
    struct machine *m = user;
    uint64_t dr7 = live64(m, DR(7)), *flags = at64(m->cpu, AT_EFLAGS);
    if (m->debug_pending)
        return;
    if (m->debug_resumed) /* one instruction was carried out with RF: only one is */
        *flags &= ~(uint64_t)FLAG_RF;
    m->debug_resumed = false;
    if (m->debug_hits) { /* by the instruction before */
        raise_debug(m, pc);
        return;
    }
    for (int n = 0; n < BREAKPOINTS; n++)
        if (is_enabled(dr7, n) && when_of(dr7, n) == ON_EXECUTION && live64(m, DR(n)) == pc)
            m->debug_hits |= 1u << n;
    if (!m->debug_hits)
        return;
    if (!(*flags & FLAG_RF)) {
        raise_debug(m, pc);
        return;
    }
    m->debug_hits = 0; /* the kernel has handled it: this time it is carried out */
    m->debug_resumed = true;
}

/* Whether an access to physical memory is one to the linear address in DRn: only where the offsets in a page agree is it looked up. */
static bool touches(struct machine *m, int n, uint64_t dr7, uint64_t physical, uint64_t size)
{
    uint64_t length = length_of(dr7, n), start = live64(m, DR(n)) & ~(length - 1), offset = start & (PAGE - 1);
    uint64_t at = physical & (PAGE - 1);
    if (at + size > PAGE && offset < at + size - PAGE)
        return true; /* into the next page, wherever that is */
    if (at >= offset + length || offset >= at + size)
        return false;
    return walk(m, live_cr3(m), start, READ) / PAGE == physical / PAGE;
}

static void on_each_access(uc_engine *uc, uc_mem_type type, uint64_t address, int size, int64_t value, void *user)
{
    (void)uc, (void)value;
    struct machine *m = user;
    uint64_t dr7 = live64(m, DR(7));
    for (int n = 0; n < BREAKPOINTS; n++) {
        enum when when = when_of(dr7, n);
        if (is_enabled(dr7, n) && (when == ON_ACCESS || (when == ON_WRITE && type == UC_MEM_WRITE)) &&
            touches(m, n, dr7, address, (uint64_t)size))
            m->debug_hits |= 1u << n;
    }
}

static bool any_enabled(uint64_t dr7) { return dr7 & 0xFF; }

static void hook_everything(struct machine *m)
{
    const struct unicorn_api *a = &m->api;
    if (a->hook_add(m->uc, &m->debug_hooks[0], UC_HOOK_CODE, (void *)on_each_instruction, m, 1, 0) != UC_ERR_OK)
        return;
    if (a->hook_add(m->uc, &m->debug_hooks[1], UC_HOOK_MEM_READ | UC_HOOK_MEM_WRITE, (void *)on_each_access, m, 1, 0) !=
        UC_ERR_OK) {
        forget_hook(m, m->debug_hooks[0]);
        return;
    }
    m->debug_hooked = true;
    m->all_stale = true; /* code that was translated before calls no hooks */
}

/* A block begins, and DR7 is not what it was, or hooks are set. True: they have changed, and the block is to be translated anew. */
bool change_breakpoints(struct machine *m)
{
    m->debug_control = live64(m, DR(7));
    if (any_enabled(m->debug_control)) {
        m->debug_idle = 0;
        if (m->debug_hooked)
            return false;
        hook_everything(m);
        return m->debug_hooked;
    }
    if (m->debug_hooked && ++m->debug_idle > IDLE_BLOCKS) {
        forget_hook(m, m->debug_hooks[0]);
        forget_hook(m, m->debug_hooks[1]);
        m->debug_hooked = false;
        m->all_stale = true;
        return true;
    }
    return false;
}

/* #DB, if one is due. */
bool deliver_debug(struct machine *m)
{
    uint64_t *dr6 = at64(m->cpu, DR(6));
    if (!m->debug_pending)
        return false;
    *dr6 = (*dr6 & ~(DR6_HITS | DR6_SINGLE_STEP)) | m->debug_hits;
    m->debug_pending = false;
    m->debug_hits = 0;
    *at64(m->cpu, AT_EIP) = m->debug_pc;
    m->dev.exceptions[1]++;
    deliver(m, 1, false, 0);
    return true;
}
