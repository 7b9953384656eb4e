/*
 * Races. Traced: which memory each instruction of watched code touches, once for each place in the code and in memory. Held: a
 * CPU stands still just before one access, while the others run; whoever touches the same bytes meanwhile races with it,
 * unless both only read, or both are atomic.
 *
 *     held CPU     ── add 1 to counter ┊ stands here                     ┊──▶ goes on: as if it had read before the others wrote
 *     the others                       ┊ add 1 to counter: told          ┊
 *
 * Without the last step no update would ever be lost: in one engine, an instruction that reads and writes is one step.
 *
 * Then: where the others come, while one is held, to a second place, that CPU is held there in its turn, and the first one goes on.
 *
 * Delayed: a store that was executed before the CPU is held has not left its store buffer yet. The others read what was there
 * before; it is written when the CPU goes on. A fence, a locked instruction or a call out of the module has emptied the
 * buffer by then, and the CPU is not held (Intel SDM volume 3, section 8.2.3.4, "loads may be reordered with earlier stores").
 */
#include "watch.h"

#define ACCESSES 32768u /* that are traced at most; a power of two */
#define TRACED_WORDS 7
#define ANY_CPU (-1)
#define COMPARED_BYTES 8
#define FREED_SIZE 1023 /* what a function that frees is said to write (kobox/checks/races/clash.py) */
#define POISON_FREE 0x6b /* include/linux/poison.h */

struct traced { uint64_t pc, address, stack; uint32_t size, access, times, order, last, cpu; };
enum { RACE_OFF, RACE_TRACES, RACE_HOLDS };
struct race {
    int mode;
    struct traced *traced; /* a hash table by pc, address and stack; pc 0: free */
    size_t count;
    uint32_t order; /* of what is traced */
    uint64_t last_pc[MAX_CPUS];
    /* where to hold: this CPU or any, on this stack or any (0), at this place, when it touches this memory */
    int cpu;
    uint64_t stack, at, start, end, skip;
    int64_t blocks, wait;
    bool split, stops; /* stops: kobox_run() comes back when a CPU is held */
    struct { uint64_t at, start, end; } then; /* at 0: there is no second place */
    struct { uint64_t at, address, size; uint8_t old[COMPARED_BYTES], new[COMPARED_BYTES]; enum { BUFFER_EMPTY, BUFFER_FILLS, BUFFER_FULL, BUFFER_HIDDEN } state; } store; /* at 0: none */
    /* who is held */
    bool holding, seen, changed, freed;
    bool expected; /* watched code is about to write there */
    uint64_t pc, address;
    uint32_t size, access;
    uint8_t before[COMPARED_BYTES], last[COMPARED_BYTES];
};

void race_close(struct watch *w)
{
    if (w->race)
        free(w->race->traced);
    free(w->race);
    w->race = NULL;
}

static void trace_access(struct machine *m, struct race *r, uint64_t pc, uint64_t address, uint64_t size, uint32_t access)
{
    uint64_t stack = STACK_OF(live_sp(m)), key = pc * 0x9E3779B97F4A7C15ull ^ address * 0xC2B2AE3D27D4EB4Full;
    r->order++;
    for (uint64_t n = (key ^ stack * 0xD6E8FEB86659FD93ull) >> 40;; n++) {
        struct traced *t = &r->traced[n % ACCESSES];
        if (!t->pc) {
            if (r->count >= ACCESSES / 2)
                return;
            r->count++;
            *t = (struct traced){pc, address, stack, (uint32_t)size, access, 0, r->order, r->order, (uint32_t)m->cpus.current};
        }
        if (t->pc == pc && t->address == address && t->stack == stack) {
            t->size = size > t->size ? (uint32_t)size : t->size;
            t->access |= access;
            t->last = r->order;
            t->times++;
            return;
        }
    }
}

static uint32_t compared(const struct race *r) { return r->size < COMPARED_BYTES ? r->size : COMPARED_BYTES; }

static bool read_held(struct machine *m, const struct race *r, uint8_t *out)
{
    return copy_virtual(m, address_space(m), r->address, out, compared(r), false);
}

static void tell_race(struct machine *m, uint64_t pc, uint64_t address, uint64_t size, uint32_t access)
{
    m->watch->race->seen = true;
    report_access(m, REPORT_RACE, pc, address, size, (int)access, access);
}

/* What has changed since the last look, a function has done that watched code called; that it was freed is told of as well. */
static void look_for_change(struct machine *m, struct race *r)
{
    uint8_t now[COMPARED_BYTES];
    bool expected = r->expected;
    r->expected = false;
    if (!read_held(m, r, now) || !memcmp(now, r->last, compared(r)))
        return;
    memcpy(r->last, now, sizeof now);
    bool freed = now[0] == POISON_FREE && !r->freed;
    if (freed || (!expected && (!r->seen || !r->changed)))
        tell_race(m, r->last_pc[m->cpus.current], r->address, compared(r), INSN_WRITE | ACCESS_CALLED);
    r->changed |= !expected;
    r->freed |= freed;
}

/* ---- a store that is still in its CPU's buffer ------------------------------------------------------------------------ */
static bool copy_stored(struct machine *m, struct race *r, uint8_t *data, bool write)
{
    return copy_virtual(m, address_space(m), r->store.address, data, (uint32_t)r->store.size, write);
}

/* Before each instruction of the CPU that is to be held. */
static void follow_store(struct machine *m, struct race *r, uint64_t pc, bool drains)
{
    if (r->store.state == BUFFER_FILLS) /* the instruction before was the store */
        r->store.state = copy_stored(m, r, r->store.new, false) ? BUFFER_FULL : BUFFER_EMPTY;
    if (drains)
        r->store.state = BUFFER_EMPTY;
    if (pc == r->store.at && copy_stored(m, r, r->store.old, false))
        r->store.state = BUFFER_FILLS;
}

/* The CPU is held: the others see what was there before. */
static void delay_store(struct machine *m, struct race *r)
{
    if (r->store.state == BUFFER_FULL && copy_stored(m, r, r->store.old, true))
        r->store.state = BUFFER_HIDDEN;
}

static void let_store_out(struct machine *m, struct race *r)
{
    if (r->store.state == BUFFER_HIDDEN)
        copy_stored(m, r, r->store.new, true);
    r->store.state = BUFFER_EMPTY;
}

/* The CPU that was held is back at its access. */
static void go_on(struct machine *m, struct race *r)
{
    uint8_t now[COMPARED_BYTES];
    let_store_out(m, r);
    r->holding = false;
    r->mode = RACE_OFF; /* once */
    /* Not when an interrupt of its own has written there since: that came between two instructions. */
    if (r->split && (r->access & (INSN_READ | INSN_WRITE | ACCESS_ATOMIC)) == (INSN_READ | INSN_WRITE) && r->size <= COMPARED_BYTES &&
        read_held(m, r, now) && memcmp(now, r->before, r->size) && !memcmp(now, r->last, r->size))
        copy_virtual(m, address_space(m), r->address, r->before, r->size, true);
}

static void begin_hold(struct machine *m, struct race *r, uint64_t pc, uint64_t address, uint64_t size, uint32_t access)
{
    r->holding = true, r->seen = r->changed = r->freed = r->expected = false;
    r->pc = pc, r->address = address, r->size = (uint32_t)size, r->access = access;
    delay_store(m, r);
    if (!read_held(m, r, r->before))
        memset(r->before, 0, sizeof r->before);
    memcpy(r->last, r->before, sizeof r->last);
    report_access(m, REPORT_HELD, pc, address, size, (int)access, access);
    r->cpu = m->cpus.current;
    hold_cpu(m, r->cpu, r->blocks, r->wait);
    m->yielded = true;
    if (r->stops)
        m->event = EV_STOPPED;
    m->api.emu_stop(m->uc);
}

/* An access of watched code, or of a function that it has called at `pc`. True: this CPU is held before it. */
bool race_access(struct machine *m, uint64_t pc, uint64_t address, uint64_t size, uint32_t access)
{
    struct race *r = m->watch->race;
    if (!r || r->mode == RACE_OFF || !(address >> 63) || !size || size > 1 << 20 || STACK_OF(address) == STACK_OF(live_sp(m)))
        return false;
    if (r->mode == RACE_TRACES) {
        trace_access(m, r, pc, address, size, access);
        return false;
    }
    bool mine = r->cpu == m->cpus.current;
    if (r->holding && !mine) {
        bool overlaps = address < r->address + r->size && r->address < address + size;
        r->expected |= overlaps && access & INSN_WRITE && !(access & ACCESS_CALLED);
        bool frees = r->access == ACCESS_CALLED && size == FREED_SIZE && access == (INSN_WRITE | ACCESS_CALLED);
        if (frees || (overlaps && (access | r->access) & INSN_WRITE && !(access & r->access & ACCESS_ATOMIC)))
            tell_race(m, pc, address, size, access);
        if (pc != r->then.at || !r->then.at || address >= r->then.end || r->then.start >= address + size)
            return false;
        r->then.at = 0;
        let_store_out(m, r);
        begin_hold(m, r, pc, address, size, access);
        return true;
    }
    if (r->holding && mine && r->pc == pc && m->cpus.schedule.held != r->cpu) {
        go_on(m, r);
        return false;
    }
    if (r->store.at && r->store.state != BUFFER_FULL)
        return false;
    if (r->holding || (!mine && r->cpu != ANY_CPU) || pc != r->at || address >= r->end || r->start >= address + size)
        return false;
    if (r->stack && r->stack != STACK_OF(live_sp(m)))
        return false;
    if (r->skip) {
        r->skip--;
        return false;
    }
    begin_hold(m, r, pc, address, size, access);
    return true;
}

/* Before each instruction of watched code; `drains`: it empties the CPU's store buffer. True: this CPU is held before it. */
bool race_step(struct machine *m, uint64_t pc, bool drains)
{
    struct race *r = m->watch->race;
    bool mine = r->cpu == m->cpus.current;
    if (r->holding && !mine)
        look_for_change(m, r);
    r->last_pc[m->cpus.current] = pc;
    if (r->mode != RACE_HOLDS || !mine || !r->store.at)
        return false;
    if (!r->holding) {
        follow_store(m, r, pc, drains);
        if (pc != r->at || r->start || r->store.state != BUFFER_FULL) /* with a start it is an access that is waited for */
            return false;
        begin_hold(m, r, pc, r->store.address, r->store.size, INSN_WRITE | ACCESS_ATOMIC);
        return true;
    }
    if (r->pc == pc && m->cpus.schedule.held != r->cpu)
        go_on(m, r);
    return false;
}

bool race_watches(const struct machine *m) { return m->watch->race && m->watch->race->mode != RACE_OFF; }

/* The hold is over: what has changed was done by the last call of watched code on the other CPU, or by the kernel alone. */
void race_hold_ends(struct machine *m)
{
    struct race *r = m->watch->race;
    if (r && r->holding)
        look_for_change(m, r);
}

/* ---- for Python ------------------------------------------------------------------------------------------------------------ */
static struct race *race_of(struct machine *m)
{
    struct watch *w = m->watch;
    if (w && !w->race && (w->race = calloc(1, sizeof *w->race)) && !(w->race->traced = calloc(ACCESSES, sizeof(struct traced))))
        race_close(w);
    return w ? w->race : NULL;
}

/* From now on: trace accesses. -1: no memory. */
EXPORT int kobox_race_trace(struct machine *m)
{
    struct race *r = race_of(m);
    if (!r)
        return -1;
    memset(r->traced, 0, ACCESSES * sizeof *r->traced);
    r->count = 0;
    r->order = 0;
    r->mode = RACE_TRACES;
    return 0;
}

/* Trace no more, and copy what was traced: TRACED_WORDS words each. Returns how many there are, at most `room`. */
EXPORT uint64_t kobox_race_traced(struct machine *m, uint64_t *out, uint64_t room)
{
    struct race *r = race_of(m);
    uint64_t count = 0;
    if (!r)
        return 0;
    r->mode = RACE_OFF;
    for (uint32_t n = 0; n < ACCESSES && count < room; n++) {
        const struct traced *t = &r->traced[n];
        if (!t->pc)
            continue;
        uint64_t row[TRACED_WORDS] = {t->pc, t->address, t->size, t->access | (uint64_t)t->cpu << 32, t->times, t->order | (uint64_t)t->last << 32, t->stack};
        memcpy(out + TRACED_WORDS * count++, row, sizeof row);
    }
    return count;
}

/*
 * Hold a CPU (ANY_CPU: whichever comes), once, before the code at `pc`, on `stack` (0: any), touches memory from `start` to `end` for the
 * time `skip` + 1, while the others execute `blocks`, or `wait` with the time in which all sleep. With `then_pc` one of the others is
 * held in its place when it comes there and touches memory from `then_start` to `then_end`. With `store_pc` the store there
 * is delayed; then `start` may be 0, and `pc` any instruction.
 */
struct hold { uint64_t cpu, stack, pc, start, end, skip, blocks, wait, split, stops, then_pc, then_start, then_end, store_pc, store_address, store_size; };

EXPORT int kobox_race_hold(struct machine *m, const struct hold *hold)
{
    struct race *r = race_of(m);
    if (!r)
        return -1;
    r->mode = RACE_HOLDS;
    r->cpu = (int)hold->cpu, r->stack = hold->stack, r->at = hold->pc, r->start = hold->start, r->end = hold->end;
    r->skip = hold->skip, r->blocks = (int64_t)hold->blocks, r->wait = (int64_t)hold->wait;
    r->split = hold->split, r->stops = hold->stops;
    r->holding = r->seen = false;
    r->then.at = hold->then_pc, r->then.start = hold->then_start, r->then.end = hold->then_end;
    memset(&r->store, 0, sizeof r->store);
    r->store.at = hold->store_size <= COMPARED_BYTES ? hold->store_pc : 0;
    r->store.address = hold->store_address, r->store.size = hold->store_size;
    memset(r->last_pc, 0, sizeof r->last_pc);
    return 0;
}

EXPORT void kobox_race_off(struct machine *m)
{
    struct race *r = race_of(m);
    if (r) {
        if (r->holding)
            let_store_out(m, r);
        r->mode = RACE_OFF;
        r->holding = false;
    }
}
