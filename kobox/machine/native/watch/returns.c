/* Functions that are looked at once more when they return: where they return to has a probe of its own. */
#include "watch.h"

#define MAX_SITES 2048

/* A function was just entered: when it returns, it is to be looked at as `call` says. The oldest that has not returned gives way. */
void await_return(struct machine *m, const struct awaited *call)
{
    struct watch *w = m->watch;
    uint64_t site, sp;
    if (!return_of(m, &site, &sp))
        return;
    struct probe *p = make_probe(m, site, true);
    if (!p || (!p->returns && !list_add(&w->sites, site, MAX_SITES)))
        return;
    p->returns = true;
    for (size_t n = 0; n < w->awaited_count; n++) /* one that never came back, as of a task that was killed in it */
        if (w->awaited[n].site == site && w->awaited[n].sp == sp && w->awaited[n].function == call->function)
            memmove(w->awaited + n, w->awaited + n + 1, (--w->awaited_count - n) * sizeof *w->awaited);
    if (w->awaited_count == MAX_AWAITED)
        memmove(w->awaited, w->awaited + 1, --w->awaited_count * sizeof *w->awaited);
    struct awaited *a = &w->awaited[w->awaited_count++];
    *a = *call;
    a->site = site;
    a->sp = sp;
    a->entry_sp = live_sp(m);
}

/* A place is reached that functions return to: several have returned at once when one left by jumping to the next. */
void watch_returned(struct machine *m, uint64_t site)
{
    struct watch *w = m->watch;
    uint64_t sp = live_sp(m);
    for (size_t n = w->awaited_count; n--;) {
        if (w->awaited[n].site != site || w->awaited[n].sp != sp)
            continue;
        struct awaited a = w->awaited[n];
        memmove(w->awaited + n, w->awaited + n + 1, (--w->awaited_count - n) * sizeof *w->awaited);
        a.returned(m, &a);
    }
}

/* The machine has gone back in time: what was entered will not return. */
EXPORT void kobox_watch_restored(struct machine *m)
{
    if (m->watch)
        m->watch->awaited_count = 0;
}

/* Nothing is awaited any more. */
void forget_returns(struct machine *m)
{
    struct watch *w = m->watch;
    for (size_t i = 0; i < w->sites.count; i++) {
        struct probe *p = find_probe(m, w->sites.items[i]);
        if (!p)
            continue;
        p->returns = false;
        if (!p->python && !p->native && !p->patches)
            remove_probe(m, p);
    }
    w->sites.count = w->awaited_count = 0;
}
