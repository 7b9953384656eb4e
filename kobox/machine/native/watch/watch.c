/* The watcher is opened and closed; which code is watched. */
#include "watch.h"

#include <sys/mman.h>

/* ---- opened and closed ------------------------------------------------------------------------------------------------ */
static void free_ranges(struct watch *w)
{
    for (size_t i = 0; i < w->range_count; i++)
        munmap(w->ranges[i].insns, (w->ranges[i].end - w->ranges[i].start) * sizeof *w->ranges[i].insns);
    w->range_count = 0;
}

static void watch_close(struct machine *m)
{
    struct watch *w = m->watch;
    free_ranges(w);
    munmap(w->shadow, m->ram_size + PAGE);
    free(w->bounds);
    context_forget(w);
    heap_forget(w);
    list_free(&w->sites);
    race_close(w);
    free(w);
    m->watch = NULL;
    m->watcher = NULL;
}

static const struct watcher handlers = {
    .arrives = watch_arrives,
    .reached = watch_reached,
    .called_from_module = watch_called_from_module,
    .tracks = watch_tracks,
    .inside = watch_inside,
    .returned = watch_returned,
    .fits = watch_fits,
    .declined = watch_declined,
    .close = watch_close,
    .hold_ends = race_hold_ends,
};

EXPORT int kobox_watch_open(struct machine *m, watch_callback report)
{
    if (m->watch)
        return -1;
    struct watch *w = calloc(1, sizeof *w);
    if (!w)
        return -1;
    w->shadow = mmap(NULL, m->ram_size + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (w->shadow == MAP_FAILED) {
        free(w);
        return -1;
    }
    w->report = report;
    m->watch = w;
    m->watcher = &handlers;
    return 0;
}

/* ---- which code is watched --------------------------------------------------------------------------------------------- */
static void drop_hook(struct machine *m)
{
    struct watch *w = m->watch;
    if (w->high)
        forget_hook(m, w->hook);
    for (uint64_t page = w->low & ~(PAGE - 1); page < w->high; page += PAGE)
        drop_code_at(m, page);
    w->low = w->high = 0;
}

/* Watch code from `start` to `end`: what hook there was is replaced by one over all ranges. */
EXPORT int kobox_watch_code(struct machine *m, uint64_t start, uint64_t end)
{
    struct watch *w = m->watch;
    if (!w || w->range_count == MAX_RANGES || end <= start)
        return -1;
    struct insn *insns = mmap(NULL, (end - start) * sizeof *insns, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (insns == MAP_FAILED)
        return -1;
    uint64_t low = w->high && w->low < start ? w->low : start, high = w->high > end ? w->high : end;
    uc_hook hook;
    if (m->api.hook_add(m->uc, &hook, UC_HOOK_CODE, (void *)on_instruction, m, low, high - 1) != UC_ERR_OK) {
        munmap(insns, (end - start) * sizeof *insns);
        return -1;
    }
    drop_hook(m);
    w->hook = hook;
    w->low = low, w->high = high;
    w->ranges[w->range_count++] = (struct range){start, end, insns, false};
    for (uint64_t page = low & ~(PAGE - 1); page < high; page += PAGE)
        drop_code_at(m, page);
    return 0;
}

/* The code from `start` on will not run any more (a module's init): what comes to lie there is not watched. */
EXPORT void kobox_watch_retire(struct machine *m, uint64_t start)
{
    struct watch *w = m->watch;
    for (size_t i = 0; w && i < w->range_count; i++)
        if (w->ranges[i].start == start)
            w->ranges[i].retired = true;
    if (w)
        w->last = NULL;
}

/* Copy what was executed: one byte for each byte of the range, 1 where an instruction began that was executed. */
EXPORT int kobox_watch_executed(struct machine *m, uint64_t start, uint8_t *out)
{
    struct watch *w = m->watch;
    for (size_t i = 0; w && i < w->range_count; i++) {
        if (w->ranges[i].start != start)
            continue;
        for (uint64_t n = 0; n < w->ranges[i].end - start; n++)
            out[n] = w->ranges[i].insns[n].flags & INSN_SEEN ? 1 : 0;
        return 0;
    }
    return -1;
}

/* Watch no code any more; what is known of memory stays. */
EXPORT void kobox_watch_leave(struct machine *m)
{
    struct watch *w = m->watch;
    if (!w)
        return;
    drop_hook(m);
    free_ranges(w);
    w->bound_count = 0;
    w->last = NULL;
    w->tail_target = w->repeat_pc = 0;
    w->stop_at = 0;
    w->pointing = w->unwritten = 0;
    w->storing = w->storing_stack = 0;
    w->recalled[0].waits = w->recalled[1].waits = false;
    memset(w->rooms, 0, sizeof w->rooms);
}

EXPORT void kobox_watch_forget(struct machine *m)
{
    struct watch *w = m->watch;
    if (!w)
        return;
    kobox_watch_leave(m);
    forget_returns(m);
    context_forget(w);
    memset(w->formats, 0, sizeof w->formats);
    w->executed = 0;
    w->kept_count = 0;
    madvise(w->shadow, m->ram_size + PAGE, MADV_DONTNEED);
    memset(w->tlb, 0, sizeof w->tlb);
}

EXPORT uint64_t kobox_watch_count(struct machine *m) { return m->watch ? m->watch->executed : 0; }

EXPORT void kobox_watch_stop_at(struct machine *m, uint64_t count)
{
    if (m->watch)
        m->watch->stop_at = count;
}

EXPORT void kobox_watch_stack(struct machine *m, uint64_t limit)
{
    if (m->watch)
        m->watch->stack_limit = limit;
}
