/*
 * Probes: "when the CPU reaches this address, tell".
 *
 * A probe at a function's entry, or where one returns to, is where a block begins: the hook that counts blocks finds it in a
 * hash table. Elsewhere it is a hook of Unicorn's on one instruction. Who is told: Python, the watcher's rule of that function, or
 * the code cache, when the kernel is about to change its own code.
 */
#include "processor.h"

struct probe *find_probe(struct machine *m, uint64_t address)
{
    for (uint32_t n = probe_hash(address);; n++) {
        struct probe *p = &m->probes[n % PROBE_SLOTS];
        if (p->address == address)
            return p;
        if (!p->address)
            return NULL;
    }
}

/* ---- arriving ---------------------------------------------------------------------------------------------------------- */
static void tell(struct machine *m, uint64_t address)
{
    if (!m->on_probe || m->in_callback)
        return;
    spend(m, CALLBACK_COST);
    m->in_callback = true;
    m->on_probe(address);
    m->in_callback = false;
}

/*
 * The kernel's __text_poke(function, address, source, length) is about to change code through a mapping of its own. Unicorn
 * looks for translations of the page at the first write only, and takes the page for data from then on: what is
 * translated between two writes would stay. So the page's translations are dropped before each.
 */
static void code_will_change(struct machine *m)
{
    uint64_t at = live_argument(m, 1), size = live_argument(m, 3);
    m->in_callback = true; /* the CPU is inside a translation: it is done before the next block */
    for (uint64_t page = at & ~(PAGE - 1); page < at + size && size <= 1 << 24; page += PAGE)
        drop_code_at(m, page);
    m->in_callback = false;
}

/* Whether Python wants to be told of this arrival. */
static bool wanted(struct machine *m, const struct probe *p)
{
    const struct watcher *w = m->watcher;
    if (!p->wants)
        return true;
    return w && ((p->wants & PROBE_FROM_MODULE && w->called_from_module(m)) || (p->wants & PROBE_TRACKED_0 && w->tracks(m, 0)) ||
                 (p->wants & PROBE_TRACKED_1 && w->tracks(m, 1)) || (p->wants & PROBE_INSIDE && w->inside(m)) ||
                 (p->wants & PROBE_UNFIT && w->called_from_module(m) && !w->fits(m, p->native)) ||
                 (p->wants & PROBE_DECLINED && w->declined(m)));
}

static void arrive(struct machine *m, const struct probe *found)
{
    const struct probe p = *found; /* whoever is told may take it away, or move it in the table */
    if (p.patches)
        code_will_change(m);
    if (p.fences)
        reach_fence(m, p.address);
    if (m->watcher)
        m->watcher->arrives(m, true);
    if (p.returns && m->watcher)
        m->watcher->returned(m, p.address);
    if (p.native && m->watcher)
        m->watcher->reached(m, p.native);
    if (p.python && wanted(m, &p))
        tell(m, p.address);
    if (m->watcher)
        m->watcher->arrives(m, false);
}

/* A block begins at an address where a probe may be. */
void reach_probe(struct machine *m, uint64_t address)
{
    const struct probe *p = find_probe(m, address);
    if (p && !p->hooked)
        arrive(m, p);
}

static void on_code(uc_engine *uc, uint64_t address, uint32_t size, void *user)
{
    (void)uc, (void)size;
    struct machine *m = user;
    const struct probe *p = find_probe(m, address);
    if (p)
        arrive(m, p);
}

/* ---- set and taken away -------------------------------------------------------------------------------------------------- */
/* Give a probe a hook of its own. */
bool hook_probe(struct machine *m, struct probe *p)
{
    if (m->api.hook_add(m->uc, &p->hook, UC_HOOK_CODE, (void *)on_code, m, p->address, p->address) != UC_ERR_OK)
        return false;
    p->hooked = true;
    drop_code_at(m, p->address);
    return true;
}

static struct probe *put_in(struct machine *m, uint64_t address)
{
    uint32_t n = probe_hash(address), bit = n % PROBE_BITS;
    if (m->probe_count == MAX_PROBES || !address)
        return NULL;
    while (m->probes[n % PROBE_SLOTS].address)
        n++;
    m->probe_count++;
    m->probe_bits[bit / 32] |= 1u << (bit % 32);
    m->probes[n % PROBE_SLOTS] = (struct probe){.address = address};
    return &m->probes[n % PROBE_SLOTS];
}

/* Free a slot of the table: those after it that could have stood here move up (Knuth, 6.4, algorithm R). */
static void take_out(struct machine *m, struct probe *p)
{
    uint32_t hole = (uint32_t)(p - m->probes);
    for (uint32_t n = (hole + 1) % PROBE_SLOTS; m->probes[n].address; n = (n + 1) % PROBE_SLOTS) {
        uint32_t home = probe_hash(m->probes[n].address) % PROBE_SLOTS;
        if ((n - home) % PROBE_SLOTS >= (n - hole) % PROBE_SLOTS) {
            m->probes[hole] = m->probes[n];
            hole = n;
        }
    }
    m->probes[hole] = (struct probe){0};
    if (--m->probe_count == 0)
        memset(m->probe_bits, 0, sizeof m->probe_bits);
}

/* The probe at an address, made if there is none. With `entry`, only jumps, calls and returns lead to the address. */
struct probe *make_probe(struct machine *m, uint64_t address, bool entry)
{
    struct probe *found = find_probe(m, address), *p = found ? found : put_in(m, address);
    if (p && !entry && !p->hooked && !hook_probe(m, p)) {
        if (!found)
            take_out(m, p);
        return NULL;
    }
    return p;
}

void remove_probe(struct machine *m, struct probe *p)
{
    uint64_t address = p->address;
    bool hooked = p->hooked;
    if (hooked)
        forget_hook(m, p->hook);
    take_out(m, p);
    if (!hooked)
        return;
    drop_code_at(m, address);
    if (m->in_callback)
        kick(m);
    else
        drop_stale(m);
}

/* ---- for Python ------------------------------------------------------------------------------------------------------------ */
EXPORT void kobox_on_probe(struct machine *m, probe_callback callback) { m->on_probe = callback; }

/* Tell Python when the CPU reaches an address: always, or when one of the things that `flags` names is so. */
EXPORT int kobox_probe_add(struct machine *m, uint64_t address, unsigned flags)
{
    struct probe *p = make_probe(m, address, flags & PROBE_ENTRY);
    if (!p)
        return -1;
    unsigned wants = flags & ~(unsigned)PROBE_ENTRY;
    p->wants = (uint8_t)(!p->python ? wants : p->wants && wants ? p->wants | wants : 0);
    p->python = true;
    return 0;
}

EXPORT void kobox_probe_remove(struct machine *m, uint64_t address)
{
    struct probe *p = find_probe(m, address);
    if (!p)
        return;
    p->python = false;
    if (!p->native && !p->patches && !p->returns && !p->fences)
        remove_probe(m, p);
}

/* Say where __text_poke() is. */
EXPORT int kobox_set_patcher(struct machine *m, uint64_t address)
{
    struct probe *p = make_probe(m, address, true);
    if (p)
        p->patches = true;
    return p ? 0 : -1;
}

/* Leave the function that was just entered, with `value` for a result: only inside a probe's callback. */
EXPORT int kobox_return(struct machine *m, uint64_t value) { return leave_function(m, value); }
