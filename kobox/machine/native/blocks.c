/*
 * What happens when a block of code is translated, and when it is executed.
 *
 * The hook on every block is the machine's clock: a native callback that counts down and stops the CPU itself is safe,
 * repeatable and costs nothing that can be measured. It also finds the probes at functions' entries.
 */
#include "processor.h"

/* A probe at what was thought to be the start of a block lies inside this one: it gets a hook of its own. */
static bool hook_probes_inside(struct machine *m, uint64_t pc, uint64_t size)
{
    bool any = false;
    for (uint64_t at = pc + 1; at < pc + size; at++) {
        struct probe *p = maybe_probed(m, at) ? find_probe(m, at) : NULL;
        if (!p || p->hooked)
            continue;
        bool before = m->in_callback;
        m->in_callback = true; /* the CPU is at work on a translation: its state must not be swapped now */
        hook_probe(m, p);
        m->in_callback = before;
        any = true;
    }
    return any;
}

/*
 * To translate a block takes as long as to execute a hundred. Code is translated once: only code that changes itself
 * again and again reaches so many in one call of kobox_run() that they are counted.
 */
#define FREE_TRANSLATIONS 50000
#define TRANSLATION_COST 200

/* Remember which pages of RAM code was translated from: a restore must drop those translations, and only those. */
static bool meet_code(struct machine *m, uint64_t pc, uint64_t size)
{
    uint64_t space = address_space(m);
    for (uint64_t va = pc & ~(PAGE - 1); va < pc + size + 1; va += PAGE) {
        uint64_t pa = walk(m, space, va, READ);
        if (pa < m->ram_size)
            remember_code(m, va, pa / PAGE);
    }
    bool fence = meet_fence(m, pc, size);
    return hook_probes_inside(m, pc, size) | fence; /* after that: only pages that are known have translations to drop */
}

/* Unicorn reports each block that it translates, but not the first one after a start. */
static bool first_block_has_probes(struct machine *m, uint64_t address, uint32_t size)
{
    m->first_block = false;
    return meet_code(m, address, size);
}

static void on_new_code(uc_engine *uc, uc_tb *made, uc_tb *before, void *user)
{
    (void)uc, (void)before;
    struct machine *m = user;
    meet_code(m, made->pc, made->size);
    if (++m->translated > FREE_TRANSLATIONS)
        spend(m, TRANSLATION_COST);
}

static bool needs_hooks(struct machine *m, uint64_t address, uint32_t size)
{
    return (m->first_block && first_block_has_probes(m, address, size)) || (breakpoints_changed(m) && change_breakpoints(m));
}

static void on_block(uc_engine *uc, uint64_t address, uint32_t size, void *user)
{
    struct machine *m = user;
    if (m->interrupt_waits && opens_to_interrupt(m))
        kick(m);
    if (--m->budget < 0) {
        m->api.emu_stop(uc); /* and on going on, this block is met again */
        m->last_block = address;
        return;
    }
    if ((m->first_block | breakpoints_changed(m)) && needs_hooks(m, address, size)) {
        kick(m);
        m->budget = -1; /* as if there were none left: it is met again, with the hooks in it */
        m->api.emu_stop(uc);
        return;
    }
    if (address == m->last_block && !m->debug_hooked && !m->stepper && address != m->plain_loop)
        run_string_instruction(m, address);
    m->last_block = address;
    if (m->link_count)
        restore_link(m, address);
    if (m->tracer)
        trace_block(m, address);
    if (m->profiler)
        profile_block(m, address, size);
    if (maybe_probed(m, address))
        reach_probe(m, address);
}

bool hook_blocks(struct machine *m)
{
    uc_hook hook;
    return m->api.hook_add(m->uc, &hook, UC_HOOK_BLOCK, (void *)on_block, m, 1, 0) == UC_ERR_OK &&
           m->api.hook_add(m->uc, &hook, UC_HOOK_EDGE_GENERATED, (void *)on_new_code, m, 1, 0) == UC_ERR_OK;
}
