/*
 * Tracing of calls: where the CPU comes into marked functions, where it comes back, and where traced code calls out.
 *
 *     a block begins at a marked address (a function's entry, the place behind a call)   --> TRACE_MARK
 *     a block outside of traced code is executed right after one inside it               --> TRACE_OUT: a call, a jump, a return
 *                                                                                             or an exception
 *
 * Marks of the second kind (MARK_DEEP) count only while Python has switched them on: those at all functions of the kernel.
 * Python looks at registers and memory from inside the callback; virtual time does not pass meanwhile.
 */
#include "processor.h"

#define MOST_MARKS (1u << 20)
#define MOST_RANGES 256u

enum trace_reason { TRACE_MARK = 1, TRACE_OUT = 2 };
enum mark_kind { MARK_ALWAYS = 1, MARK_DEEP = 2 };
typedef void (*trace_callback)(int reason, uint64_t address);

struct mark { uint64_t address; uint64_t kind; };
struct range { uint64_t from, to; };

struct tracer {
    trace_callback tell;
    bool deep;
    bool inside[MAX_CPUS];      /* whether the block that each CPU executed last is traced code */
    uint64_t low, high;         /* all traced code lies between */
    struct range ranges[MOST_RANGES];
    uint32_t range_count;
    struct mark *marks;         /* a hash table by address; address 0: free; kind 0: taken away */
    uint64_t slots, used;
};

static uint64_t slot_of(const struct tracer *t, uint64_t address)
{
    uint64_t n = (address * 0x9E3779B97F4A7C15ull >> 32) & (t->slots - 1);
    while (t->marks[n].address && t->marks[n].address != address)
        n = (n + 1) & (t->slots - 1);
    return n;
}

static bool is_traced(const struct tracer *t, uint64_t address)
{
    if (address < t->low || address >= t->high)
        return false;
    for (uint32_t n = 0; n < t->range_count; n++)
        if (address >= t->ranges[n].from && address < t->ranges[n].to)
            return true;
    return false;
}

static enum trace_reason reason_to_tell(struct machine *m, struct tracer *t, uint64_t address)
{
    bool *inside = &t->inside[m->cpus.current], before = *inside;
    *inside = is_traced(t, address);
    if (before && !*inside)
        return TRACE_OUT;
    uint64_t kind = t->marks[slot_of(t, address)].kind;
    return kind == MARK_ALWAYS || (kind == MARK_DEEP && t->deep) ? TRACE_MARK : 0;
}

/* A block begins. */
void trace_block(struct machine *m, uint64_t address)
{
    struct tracer *t = m->tracer;
    if (m->in_callback)
        return;
    enum trace_reason reason = reason_to_tell(m, t, address);
    if (!reason)
        return;
    m->in_callback = true;
    t->tell((int)reason, address);
    m->in_callback = false;
    m->measured_ns = 0; /* how long somebody thought about it is no work of the guest's */
}

static bool grow(struct tracer *t)
{
    struct tracer old = *t;
    t->slots = old.slots ? old.slots * 2 : 4096;
    t->marks = calloc(t->slots, sizeof *t->marks);
    if (!t->marks) {
        t->marks = old.marks;
        t->slots = old.slots;
        return false;
    }
    t->used = 0;
    for (uint64_t n = 0; n < old.slots; n++)
        if (old.marks[n].kind) {
            t->marks[slot_of(t, old.marks[n].address)] = old.marks[n];
            t->used++;
        }
    free(old.marks);
    return true;
}

/* Tell of traced code from now on. -1: somebody is told already, or there is no memory. */
EXPORT int kobox_trace_open(struct machine *m, trace_callback tell)
{
    struct tracer *t = m->tracer ? NULL : calloc(1, sizeof *t);
    if (!t || !grow(t)) {
        free(t);
        return -1;
    }
    t->tell = tell;
    m->tracer = t;
    return 0;
}

void close_tracer(struct machine *m)
{
    if (m->tracer)
        free(m->tracer->marks);
    free(m->tracer);
    m->tracer = NULL;
}

EXPORT void kobox_trace_close(struct machine *m) { close_tracer(m); }

/* Mark an address (`kind`), or take the mark away (0). -1: there are too many. */
EXPORT int kobox_trace_mark(struct machine *m, uint64_t address, unsigned kind)
{
    struct tracer *t = m->tracer;
    if (!address)
        return -1;
    struct mark *mark = &t->marks[slot_of(t, address)];
    if (!mark->address && kind) {
        if (t->used >= MOST_MARKS || (t->used * 2 >= t->slots && !grow(t)))
            return -1;
        mark = &t->marks[slot_of(t, address)];
        t->used++;
    }
    if (mark->address || kind)
        *mark = (struct mark){address, kind};
    return 0;
}

/* [from, to) is traced code (`on`), or is no longer. -1: there are too many ranges. */
EXPORT int kobox_trace_code(struct machine *m, uint64_t from, uint64_t to, int on)
{
    struct tracer *t = m->tracer;
    uint32_t n = 0;
    while (n < t->range_count && (t->ranges[n].from != from || t->ranges[n].to != to))
        n++;
    if (on && n == t->range_count) {
        if (n == MOST_RANGES)
            return -1;
        t->ranges[t->range_count++] = (struct range){from, to};
    } else if (!on && n < t->range_count) {
        t->ranges[n] = t->ranges[--t->range_count];
    }
    t->low = ~0ull;
    t->high = 0;
    for (n = 0; n < t->range_count; n++) {
        t->low = t->ranges[n].from < t->low ? t->ranges[n].from : t->low;
        t->high = t->ranges[n].to > t->high ? t->ranges[n].to : t->high;
    }
    return 0;
}

/* Whether marks at all functions of the kernel count. */
EXPORT void kobox_trace_deep(struct machine *m, int on) { m->tracer->deep = on; }

/* The machine has gone back in time: no CPU was inside traced code before. */
EXPORT void kobox_trace_restored(struct machine *m) { memset(m->tracer->inside, 0, sizeof m->tracer->inside); }
