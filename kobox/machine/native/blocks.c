/*
 * What happens when a block of code is translated, and when it is executed.
 *
 * The hook on every block is the machine's clock: a native callback that counts down and stops the CPU itself is safe,
 * repeatable and costs nothing that can be measured. It also finds the probes at functions' entries.
 */
#include "x86_64/cpu.h"

static void on_block(uc_engine *uc, uint64_t address, uint32_t size, void *user)
{
    (void)size;
    struct machine *m = user;
    if (--m->budget < 0) {
        m->api.emu_stop(uc); /* and on going on, this block is met again */
        m->last_block = address;
        return;
    }
    if (address == m->last_block && address != m->plain_loop)
        run_string_instruction(m, address);
    m->last_block = address;
    if (maybe_probed(m, address))
        reach_probe(m, address);
}

/* A probe at what was thought to be the start of a block lies inside this one: it gets a hook of its own. */
static void look_for_probes_inside(struct machine *m, uint64_t pc, uint64_t size)
{
    for (uint64_t at = pc + 1; at < pc + size; at++) {
        struct probe *p = maybe_probed(m, at) ? find_probe(m, at) : NULL;
        if (!p || p->hooked)
            continue;
        bool before = m->in_callback;
        m->in_callback = true; /* the CPU is at work on a translation: its state must not be swapped now */
        hook_probe(m, p);
        m->in_callback = before;
    }
}

/* Remember which pages of RAM code was translated from: a restore must drop those translations, and only those. */
static void on_new_code(uc_engine *uc, uc_tb *made, uc_tb *before, void *user)
{
    (void)uc, (void)before;
    struct machine *m = user;
    uint64_t cr3 = live_cr3(m);
    for (uint64_t va = made->pc & ~(PAGE - 1); va < made->pc + made->size + 1; va += PAGE) {
        uint64_t pa = walk(m, cr3, va, READ);
        if (pa < m->ram_size)
            remember_code(m, va, pa / PAGE);
    }
    look_for_probes_inside(m, made->pc, made->size); /* after that: only pages that are known have translations to drop */
}

bool hook_blocks(struct machine *m)
{
    uc_hook hook;
    return m->api.hook_add(m->uc, &hook, UC_HOOK_BLOCK, (void *)on_block, m, 1, 0) == UC_ERR_OK &&
           m->api.hook_add(m->uc, &hook, UC_HOOK_EDGE_GENERATED, (void *)on_new_code, m, 1, 0) == UC_ERR_OK;
}
