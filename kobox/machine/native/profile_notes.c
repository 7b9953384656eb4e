/*
 * Single calls that a profile keeps: what allocates, frees, locks, logs; system calls; how long interrupts are off.
 *
 *     a noted function is entered      a note: time, arguments, where the module's code made the call    (profiler.c: enter)
 *     its frame is left                its end and result                                                (profiler.c: pop)
 *     memory that was given            is remembered: what takes it back later counts also where no module is on the stack
 *                                      (RCU, the network)
 *
 * Interrupts are looked at where blocks begin: a section that lies within one block is not seen.
 */
#include "profiler.h"

#define MOST_NOTES (1u << 20)
#define MOST_LIVE (1u << 21)
#define GONE 1u
#define MOST_AT_ONCE 4096u

static bool read_guest(struct machine *m, uint64_t address, void *to, uint64_t size)
{
    return is_kernel_address(address) && copy_virtual(m, address_space(m), address, to, size, false);
}

/* Where a function that was just entered will return to. */
uint64_t return_site(struct machine *m)
{
    uint64_t site = 0;
    if ((unsigned)R_LINK != (unsigned)NO_REG)
        return live_reg(m, R_LINK & (REGISTERS - 1));
    return read_guest(m, live_sp(m), &site, sizeof site) ? site : 0;
}

/* ---- memory that was given --------------------------------------------------------------------------------------------------- */
static uint64_t live_slot(const struct profiler *p, uint64_t address)
{
    uint64_t n = (address * 0x9E3779B97F4A7C15ull >> 24) & (p->live_slots - 1);
    while (p->live[n] && p->live[n] != address)
        n = (n + 1) & (p->live_slots - 1);
    return n;
}

static bool grow_live(struct profiler *p)
{
    struct profiler old = *p;
    p->live_slots = old.live_slots ? old.live_slots * 2 : 4096;
    p->live = p->live_slots <= MOST_LIVE ? calloc(p->live_slots, sizeof *p->live) : NULL;
    if (!p->live) {
        p->live = old.live;
        p->live_slots = old.live_slots;
        return false;
    }
    p->live_used = 0;
    for (uint64_t n = 0; n < old.live_slots; n++)
        if (old.live[n] > GONE) {
            p->live[live_slot(p, old.live[n])] = old.live[n];
            p->live_used++;
        }
    free(old.live);
    return true;
}

static void given(struct profiler *p, uint64_t address)
{
    if (address < 4096 || address >= (uint64_t)-4096) /* ZERO_SIZE_PTR, an error */
        return;
    if (p->live_used * 2 >= p->live_slots && !grow_live(p)) {
        p->full = true;
        return;
    }
    uint64_t n = live_slot(p, address);
    p->live_used += !p->live[n];
    p->live[n] = address;
}

static bool taken_back(struct profiler *p, uint64_t address)
{
    if (!p->live || address <= GONE)
        return false;
    uint64_t n = live_slot(p, address);
    if (!p->live[n])
        return false;
    p->live[n] = GONE;
    return true;
}

/* ---- notes ------------------------------------------------------------------------------------------------------------------- */
/* 1 + the number of a new note; 0: there is no room. */
static uint32_t new_note(struct machine *m, const struct function_start *f, uint32_t node, uint64_t site)
{
    struct profiler *p = m->profiler;
    if (p->note_count == p->note_slots) {
        uint64_t slots = p->note_slots ? p->note_slots * 2 : 1024;
        struct profile_note *notes = slots <= MOST_NOTES ? realloc(p->notes, slots * sizeof *notes) : NULL;
        if (!notes) {
            p->full = true;
            return 0;
        }
        p->notes = notes;
        p->note_slots = slots;
    }
    struct profile_note *note = &p->notes[p->note_count++];
    *note = (struct profile_note){.start = now(m), .total = p->total, .site = site, .node = node, .function = f->number, .stack = live_sp(m) >> STACK_SHIFT};
    note->end = note->start;
    note->total_end = note->total;
    for (unsigned n = 0; n < 3; n++)
        note->arguments[n] = live_argument(m, n);
    return (uint32_t)p->note_count;
}

static struct profile_note *note_at(struct profiler *p, uint32_t note) { return &p->notes[note - 1]; }

static void note_cache(struct machine *m, const struct function_start *f, uint32_t note)
{
    struct profiler *p = m->profiler;
    struct profile_note *at = note ? note_at(p, note) : NULL;
    uint64_t cache = live_argument(m, f->kind >> ARGUMENT_SHIFT);
    uint32_t sizes[2] = {0};
    if (at && p->size_at && read_guest(m, cache + p->object_size_at, &sizes[0], 4) && read_guest(m, cache + p->size_at, &sizes[1], 4))
        at->cache_sizes = sizes[0] | (uint64_t)sizes[1] << 32;
}

/* What takes memory back is called: a note for what somebody was seen getting. */
static uint32_t note_freeing(struct machine *m, const struct function_start *f, uint32_t node, uint64_t site)
{
    struct profiler *p = m->profiler;
    unsigned argument = f->kind >> ARGUMENT_SHIFT;
    uint64_t memory = live_argument(m, argument), count = 1;
    uint32_t first = 0;
    if (f->kind & TAKES_BACK) {
        if (taken_back(p, memory) && (first = new_note(m, f, node, site)))
            note_at(p, first)->result = memory;
        return first;
    }
    count = live_argument(m, argument - 1);
    for (uint64_t n = 0, one; n < count && n < MOST_AT_ONCE && read_guest(m, memory + 8 * n, &one, 8); n++)
        if (taken_back(p, one)) {
            uint32_t note = new_note(m, f, node, site);
            if (note)
                note_at(p, note)->result = one;
        }
    return 0;
}

/* A noted function is entered; `direct`: by the module's own code. */
void note_call(struct machine *m, const struct function_start *f, struct frame *frame, bool direct)
{
    uint32_t note = 0, node = frame->node == NOBODY ? 0 : frame->node;
    if (f->kind & (TAKES_BACK | TAKES_MANY)) {
        note = note_freeing(m, f, node, frame->site);
    } else if (node && !(f->kind & GIVES && frame->gives) && (direct || !(f->kind & NOTE_DIRECT))) {
        note = new_note(m, f, node, frame->site);
        if (f->kind & FROM_CACHE)
            note_cache(m, f, note);
        if (f->kind & GIVES && note) {
            note_at(m->profiler, note)->returned = 2;
            frame->gives = true;
        }
    }
    if (note && !frame->note)
        frame->note = note;
}

void note_returned(struct machine *m, uint32_t note)
{
    struct profiler *p = m->profiler;
    struct profile_note *at = note_at(p, note);
    at->end = now(m);
    at->total_end = p->total;
    if (at->returned == 2)
        given(p, live_reg(m, R_RESULT));
    if (!at->result)
        at->result = live_reg(m, R_RESULT);
    at->returned = 1;
}

/* A function is entered where no module's is on the stack. */
void note_without_module(struct machine *m, struct call_stack *s, const struct function_start *f, uint64_t sp)
{
    struct profiler *p = m->profiler;
    if (f->kind & (TAKES_BACK | TAKES_MANY)) {
        note_freeing(m, f, 0, 0);
    } else if (f->kind & OF_INTERRUPT) {
        if (sp >= s->syscall_sp) /* it comes from user space */
            s->syscall = 0;
    } else {
        uint32_t n = 0;
        while (n < p->syscall_count && p->syscalls[n].number != f->number)
            n++;
        if (n == MOST_SYSCALLS)
            return;
        if (n == p->syscall_count)
            p->syscalls[p->syscall_count++].number = f->number;
        s->syscall = n + 1;
        s->syscall_sp = sp;
        s->syscall_cost = 0;
    }
}

void count_syscall(struct machine *m, struct call_stack *s, uint64_t sp, uint32_t instructions)
{
    struct profile_syscall *syscall = &m->profiler->syscalls[s->syscall - 1];
    if (sp > s->syscall_sp)
        return;
    syscall->calls += !s->syscall_cost;
    syscall->instructions += instructions;
    s->syscall_cost += instructions;
    if (s->syscall_cost > syscall->most)
        syscall->most = s->syscall_cost;
}

/* Interrupts are on again, or the chain that had them off is over. */
void interrupts_on(struct machine *m)
{
    struct profiler *p = m->profiler;
    struct off_section *off = &p->off[m->cpus.current];
    struct profile_node *at = &p->nodes[off->node];
    uint64_t lasted = now(m) - off->since;
    off->since = 0;
    at->off_times++;
    at->off_ns += lasted;
    if (lasted >= at->off_longest)
        at->off_longest = lasted;
    at->off_inside |= off->inside;
}

/* A block of a chain begins with interrupts off. `first`: it is the chain's first. */
void interrupts_off(struct machine *m, uint32_t node, bool first)
{
    uint64_t since = now(m);
    m->profiler->off[m->cpus.current] = (struct off_section){since + !since, node, first};
}

/* ---- for Python ------------------------------------------------------------------------------------------------------------------ */
void free_notes(struct profiler *p)
{
    free(p->notes);
    free(p->live);
}

/* Where the sizes are in struct kmem_cache. */
EXPORT void kobox_profile_caches(struct machine *m, uint32_t object_size_at, uint32_t size_at)
{
    m->profiler->object_size_at = object_size_at;
    m->profiler->size_at = size_at;
}

/* How many notes there are from number `first` on; up to `room` of them are copied to `out`. */
EXPORT uint64_t kobox_profile_notes(struct machine *m, uint64_t first, struct profile_note *out, uint64_t room)
{
    struct profiler *p = m->profiler;
    uint64_t count = first < p->note_count ? p->note_count - first : 0;
    if (room && count)
        memcpy(out, p->notes + first, (room < count ? room : count) * sizeof *out);
    return count;
}

EXPORT uint64_t kobox_profile_syscalls(struct machine *m, struct profile_syscall *out, uint64_t room)
{
    struct profiler *p = m->profiler;
    if (room)
        memcpy(out, p->syscalls, (room < p->syscall_count ? room : p->syscall_count) * sizeof *out);
    return p->syscall_count;
}
