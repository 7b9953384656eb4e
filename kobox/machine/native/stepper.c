/*
 * A debugger's view: every instruction is looked at before it is executed, and counted.
 *
 *     an instruction with a number  --> a moment of a run that can be found again: the same run has the same count
 *     a breakpoint, a watched byte, the end of a range  --> Python is told before the instruction (the next one, for a byte)
 *     quiet: nobody is told, and the last of these that came is remembered: what a debugger that runs backwards asks for
 *
 * Python answers from inside the callback, so nothing in the run changes by being looked at. All code runs several times slower.
 */
#include "processor.h"

#define MOST_BREAKPOINTS 4096u
#define MOST_WATCHED 256u
#define BITS 16384u

enum stop_reason { STOP_NONE, STOP_COUNT, STOP_BREAK, STOP_WATCH, STOP_RANGE };
enum watched_kind { WATCH_WRITES = 1, WATCH_READS = 2 };
typedef void (*step_callback)(int reason, uint64_t pc, uint64_t detail);

struct watched { uint64_t address, size; unsigned kinds; };
struct moment { uint64_t count, reason, pc, detail; };

struct stepper {
    step_callback tell;
    uc_hook hooks[2];
    uint64_t count;          /* instructions begun since the start: the one that is looked at has this number */
    uint64_t stop_at;        /* tell before the instruction with this number, 0: never */
    uint64_t from, to;       /* tell before the first one outside, if to is not 0 */
    bool quiet;
    struct moment last;      /* the last stop that came while `quiet` was set */
    uint64_t written;        /* the address of a watched byte that the instruction before touched, or 0 */
    uint64_t interrupts;     /* how many had come when a step began */
    bool inside;             /* an interrupt came in the middle of a step: it is not part of it */
    uint64_t back_pc, back_sp;
    uint64_t breakpoints[MOST_BREAKPOINTS];
    uint32_t breakpoint_count, watched_count;
    uint32_t bits[BITS / 32];
    struct watched watched[MOST_WATCHED];
};

static uint32_t bit_for(uint64_t address) { return (uint32_t)(address ^ address >> 14) % BITS; }

static bool is_breakpoint(const struct stepper *s, uint64_t pc)
{
    uint32_t bit = bit_for(pc);
    if (!(s->bits[bit / 32] >> (bit % 32) & 1))
        return false;
    for (uint32_t n = 0; n < s->breakpoint_count; n++)
        if (s->breakpoints[n] == pc)
            return true;
    return false;
}

/* A step is one of the code that is stepped through: an interrupt that comes between is passed over. */
static bool inside_interrupt(struct machine *m, struct stepper *s, uint64_t pc)
{
    if (s->inside) {
        s->inside = pc != s->back_pc || live_sp(m) != s->back_sp;
        s->interrupts = m->dev.interrupts;
    } else if (m->dev.interrupts != s->interrupts) {
        s->interrupts = m->dev.interrupts;
        s->inside = interrupted_at(m, &s->back_pc, &s->back_sp);
    }
    return s->inside;
}

static enum stop_reason reason_to_stop(struct machine *m, struct stepper *s, uint64_t pc)
{
    if (s->written)
        return STOP_WATCH;
    if (s->breakpoint_count && is_breakpoint(s, pc))
        return STOP_BREAK;
    if (s->to)
        return !inside_interrupt(m, s, pc) && (pc < s->from || pc >= s->to) ? STOP_RANGE : STOP_NONE;
    return s->stop_at && s->count == s->stop_at ? STOP_COUNT : STOP_NONE;
}

static void on_instruction(uc_engine *uc, uint64_t pc, uint32_t size, void *user)
{
    (void)uc, (void)size;
    struct machine *m = user;
    struct stepper *s = m->stepper;
    if (m->in_callback)
        return;
    s->count++;
    enum stop_reason reason = reason_to_stop(m, s, pc);
    if (reason == STOP_NONE)
        return;
    uint64_t detail = s->written;
    s->written = 0;
    if (s->quiet) {
        if (s->count != s->stop_at) {
            s->last = (struct moment){s->count, reason, pc, detail};
            return;
        }
        reason = STOP_COUNT;
    }
    m->in_callback = true;
    s->tell(reason, pc, detail);
    m->in_callback = false;
    m->measured_ns = 0; /* how long somebody thought about it is no work of the guest's */
}

/* Unicorn gives physical addresses: only where the offsets in a page agree is the watched one looked up. */
static bool touches(const struct machine *m, const struct watched *w, uint64_t physical, uint64_t size)
{
    uint64_t offset = w->address & (PAGE - 1), at = physical & (PAGE - 1);
    if (at >= offset + w->size || offset >= at + size)
        return false;
    return walk(m, address_space(m), w->address, READ) / PAGE == physical / PAGE;
}

static void on_access(uc_engine *uc, uc_mem_type type, uint64_t address, int size, int64_t value, void *user)
{
    (void)uc, (void)value;
    struct machine *m = user;
    struct stepper *s = m->stepper;
    unsigned kind = type == UC_MEM_WRITE ? WATCH_WRITES : WATCH_READS;
    for (uint32_t n = 0; n < s->watched_count; n++)
        if (s->watched[n].kinds & kind && touches(m, &s->watched[n], address, (uint64_t)size))
            s->written = s->watched[n].address;
}

/* Look at every instruction from now on. */
EXPORT int kobox_step_open(struct machine *m, step_callback tell)
{
    struct stepper *s = calloc(1, sizeof *s);
    if (!s || m->stepper) {
        free(s);
        return -1;
    }
    s->tell = tell;
    if (m->api.hook_add(m->uc, &s->hooks[0], UC_HOOK_CODE, (void *)on_instruction, m, 1, 0) != UC_ERR_OK ||
        m->api.hook_add(m->uc, &s->hooks[1], UC_HOOK_MEM_READ | UC_HOOK_MEM_WRITE, (void *)on_access, m, 1, 0) != UC_ERR_OK) {
        free(s);
        return -1;
    }
    m->stepper = s;
    m->all_stale = true; /* code that was translated before calls no hooks */
    return 0;
}

void close_stepper(struct machine *m)
{
    free(m->stepper);
    m->stepper = NULL;
}

EXPORT void kobox_step_close(struct machine *m)
{
    if (!m->stepper)
        return;
    forget_hook(m, m->stepper->hooks[0]);
    forget_hook(m, m->stepper->hooks[1]);
    m->all_stale = true;
    close_stepper(m);
}

EXPORT uint64_t kobox_step_count(const struct machine *m) { return m->stepper->count; }

/* The machine has gone back to where so many instructions had begun. */
EXPORT void kobox_step_rewound(struct machine *m, uint64_t count)
{
    m->stepper->count = count;
    m->stepper->written = 0;
    m->stepper->inside = false;
    m->stepper->interrupts = m->dev.interrupts;
}

/* What to stop for besides breakpoints and watched bytes: see struct stepper. */
EXPORT void kobox_step_until(struct machine *m, uint64_t count, uint64_t from, uint64_t to, int quiet)
{
    struct stepper *s = m->stepper;
    s->stop_at = count;
    s->from = from;
    s->to = to;
    s->quiet = quiet;
    s->inside = false;
    s->interrupts = m->dev.interrupts;
    s->last = (struct moment){0};
}

/* The last stop that came while nobody was told: count, reason, pc, the watched address; zeroes when there was none. */
EXPORT void kobox_step_last(const struct machine *m, uint64_t *out) { memcpy(out, &m->stepper->last, sizeof m->stepper->last); }

static void remember_bits(struct stepper *s)
{
    memset(s->bits, 0, sizeof s->bits);
    for (uint32_t n = 0; n < s->breakpoint_count; n++) {
        uint32_t bit = bit_for(s->breakpoints[n]);
        s->bits[bit / 32] |= 1u << (bit % 32);
    }
}

/* Set (`on`) or remove a breakpoint. -1: there are too many. */
EXPORT int kobox_step_break(struct machine *m, uint64_t address, int on)
{
    struct stepper *s = m->stepper;
    uint32_t n = 0;
    while (n < s->breakpoint_count && s->breakpoints[n] != address)
        n++;
    if (on && n == s->breakpoint_count) {
        if (n == MOST_BREAKPOINTS)
            return -1;
        s->breakpoints[s->breakpoint_count++] = address;
    } else if (!on && n < s->breakpoint_count) {
        s->breakpoints[n] = s->breakpoints[--s->breakpoint_count];
    }
    remember_bits(s);
    return 0;
}

static bool same_watched(const struct watched *a, const struct watched *b)
{
    return a->address == b->address && a->size == b->size && a->kinds == b->kinds;
}

static int watch_piece(struct stepper *s, struct watched piece, int on)
{
    uint32_t n = 0;
    while (n < s->watched_count && !same_watched(&s->watched[n], &piece))
        n++;
    if (on) {
        if (s->watched_count == MOST_WATCHED)
            return -1;
        s->watched[s->watched_count++] = piece;
    } else if (n < s->watched_count) {
        s->watched[n] = s->watched[--s->watched_count];
    }
    return 0;
}

/* Set (`on`) or remove a watched range, page by page. -1: there are too many. */
EXPORT int kobox_step_watch(struct machine *m, uint64_t address, uint64_t size, unsigned kinds, int on)
{
    while (size) {
        uint64_t piece = PAGE - (address & (PAGE - 1));
        piece = piece < size ? piece : size;
        if (watch_piece(m->stepper, (struct watched){address, piece, kinds}, on))
            return -1;
        address += piece;
        size -= piece;
    }
    return 0;
}
