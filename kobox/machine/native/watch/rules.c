/* What is known of functions, by their addresses, and who has called the one that is reached. */
#include "watch.h"

/* A function with a probe is reached, or has been looked at: what is asked in between is asked of one and the same call. */
void watch_arrives(struct machine *m, bool begins)
{
    struct watch *w = m->watch;
    w->jumped_here = w->declined = false;
    w->arriving = begins;
    w->from_module = NOT_ASKED;
}

/* At a function's entry: where it returns to, and the stack pointer then. False: there is no stack. */
bool return_of(struct machine *m, uint64_t *site, uint64_t *sp)
{
    *sp = live_sp(m);
    if (R_LINK != NO_REG) {
        *site = live_reg(m, R_LINK);
        return true;
    }
    uint64_t pa = physical(m, *sp);
    if (pa >= NOT_RAM || pa + 8 > m->ram_size)
        return false;
    memcpy(site, m->ram + pa, 8);
    *sp += 8;
    return true;
}

static bool calls_from_module(struct machine *m)
{
    struct watch *w = m->watch;
    uint64_t sp;
    if (w->jumped_here)
        return true;
    if (w->tail_target && w->tail_target == live_pc(m)) {
        w->caller = w->tail_pc;
        w->tail_target = 0;
        return w->jumped_here = true;
    }
    return return_of(m, &w->caller, &sp) && range_of(w, w->caller - 1);
}

/* At a function's entry: whether the code that called it, or jumped to it as its last act, is watched. */
bool watch_called_from_module(struct machine *m)
{
    struct watch *w = m->watch;
    if (!w->range_count)
        return false;
    if (!w->arriving || w->from_module == NOT_ASKED)
        w->from_module = calls_from_module(m) ? IS : IS_NOT;
    return w->from_module == IS;
}

bool watch_declined(struct machine *m) { return m->watch->declined; }
EXPORT int kobox_watch_declined(struct machine *m) { return m->watch && m->watch->declined; }

/* Whether an argument points to the first byte of what is tracked. */
bool watch_tracks(struct machine *m, int argument)
{
    uint64_t address = live_argument(m, argument);
    if (!(address >> 63))
        return false;
    uint64_t pa = physical(m, address);
    return pa < NOT_RAM && m->watch->shadow[pa];
}

/* The rule of an address, made if there is none. NULL: no room. */
struct rule *rule_at(struct machine *m, uint64_t address, bool entry)
{
    struct probe *p = make_probe(m, address, entry);
    if (p && !p->native)
        p->native = calloc(1, sizeof *p->native);
    return p ? p->native : NULL;
}

EXPORT void kobox_watch_unrule(struct machine *m, uint64_t address)
{
    struct probe *p = find_probe(m, address);
    if (!p || !p->native)
        return;
    free(p->native);
    p->native = NULL;
    if (!p->python && !p->patches && !p->returns)
        remove_probe(m, p);
}

/* In any probe at a function's entry: whether watched code has called it; then the caller is known, also of a jump. */
EXPORT int kobox_watch_from_module(struct machine *m) { return m->watch && watch_called_from_module(m); }

/* A function of the kernel that only jumps to where a register points: what jumps there jumps on (retpolines). */
EXPORT int kobox_watch_thunk(struct machine *m, uint64_t address, int reg)
{
    struct watch *w = m->watch;
    if (!w || w->thunk_count == MAX_THUNKS)
        return -1;
    w->thunks[w->thunk_count].address = address;
    w->thunks[w->thunk_count++].reg = reg;
    return 0;
}

EXPORT uint64_t kobox_watch_caller(struct machine *m) { return m->watch ? m->watch->caller : 0; }
