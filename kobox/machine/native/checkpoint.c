/*
 * What a machine was, kept and given back: CPU and devices as bytes, RAM as the pages that differ from its snapshot.
 *
 *     state:  the CPU's, as Unicorn keeps it | struct devices | struct cpus | blocks | hypercall_at | home | agent | the other CPUs'
 */
#include "processor.h"

#include <errno.h>
#include <unistd.h>

static const uint8_t zeroes[PAGE];

/* ---- CPU and devices --------------------------------------------------------------------------------------------------- */
EXPORT uint64_t kobox_state_size(struct machine *m)
{
    return m->env_size * (size_t)m->cpus.count + sizeof m->dev + sizeof m->cpus + 24 + sizeof m->agent;
}

EXPORT void kobox_state_save(struct machine *m, uint8_t *out)
{
    sync_time(m);
    env_load(m);
    memcpy(out, m->env, m->env_size);
    out += m->env_size;
    memcpy(out, &m->dev, sizeof m->dev);
    out += sizeof m->dev;
    memcpy(out, &m->cpus, sizeof m->cpus);
    out += sizeof m->cpus;
    memcpy(out, &m->blocks, 8);
    memcpy(out + 8, &m->hypercall_at, 8);
    memcpy(out + 16, &m->home, 8);
    memcpy(out + 24, m->agent, sizeof m->agent);
    out += 24 + sizeof m->agent;
    for (int cpu = 0; cpu < m->cpus.count; cpu++)
        if (cpu != m->cpus.current) {
            memcpy(out, m->parked[cpu], m->env_size);
            out += m->env_size;
        }
}

/* A saved box may come from a stranger: what is an index must be one. */
static void bound_indices(struct machine *m)
{
    struct schedule *s = &m->cpus.schedule;
    if (m->cpus.current < 0 || m->cpus.current >= m->cpus.count)
        m->cpus.current = 0;
    if (s->changes < 0 || s->changes > MAX_CHANGES)
        s->changes = 0;
    if (s->next_change < 0 || s->next_change > s->changes)
        s->next_change = s->changes;
    if (s->held < -1 || s->held >= m->cpus.count)
        s->held = -1;
    for (int n = 0; n < 2; n++) {
        m->dev.uart[n].rx_head %= sizeof m->dev.uart[n].rx;
        if (m->dev.uart[n].rx_count > sizeof m->dev.uart[n].rx)
            m->dev.uart[n].rx_count = 0;
    }
}

EXPORT void kobox_state_load(struct machine *m, const uint8_t *in)
{
    const uint8_t *rest = in + m->env_size + sizeof m->dev;
    uint64_t work = work_done(m);
    int count = m->cpus.count;
    memcpy(&m->cpus, rest, sizeof m->cpus);
    m->cpus.count = count; /* of the machine that there is, as `parked` */
    rest += sizeof m->cpus;
    memcpy(&m->dev, in + m->env_size, sizeof m->dev);
    bound_indices(m);
    memcpy(&m->blocks, rest, 8);
    memcpy(&m->hypercall_at, rest + 8, 8);
    memcpy(&m->home, rest + 16, 8);
    memcpy(m->agent, rest + 24, sizeof m->agent);
    rest += 24 + sizeof m->agent;
    for (int cpu = 0; cpu < count; cpu++)
        if (cpu != m->cpus.current) {
            memcpy(m->parked[cpu], rest, m->env_size);
            rest += m->env_size;
        }
    memcpy(m->env, in, m->env_size);
    env_store(m);
    m->granted = m->budget = 0;
    m->extra_work = work - m->blocks; /* what was done stays done */
    m->pc = state_pc(m->env);
    m->api.ctl(m->uc, UC_CTL_WRITE(UC_CTL_TLB_FLUSH, 0));
}

/* ---- RAM ------------------------------------------------------------------------------------------------------------------ */
/* What a page held at the snapshot. */
static const uint8_t *page_at_snapshot(const struct machine *m, uint64_t page)
{
    return m->base ? m->base + page * PAGE : zeroes;
}

/* Where the kernel does not say which pages were written, all are compared with what they were. */
static size_t differing_pages(const struct machine *m, uint64_t *list)
{
    size_t count = 0;
    for (uint64_t page = 0; page < m->ram_size / PAGE; page++)
        if (memcmp(m->ram + page * PAGE, page_at_snapshot(m, page), PAGE))
            list[count++] = page;
    return count;
}

/* A state of RAM: `pages` holds those of `list`, in order; all others are as they were at the snapshot. */
struct checkpoint { size_t count; uint64_t *list; uint8_t *pages, *state; uint64_t console; };

EXPORT uint64_t kobox_checkpoint_size(const struct checkpoint *c) { return c->count * PAGE; }

EXPORT void kobox_checkpoint_free(struct checkpoint *c)
{
    if (!c)
        return;
    free(c->list);
    free(c->pages);
    free(c->state);
    free(c);
}

static bool keep_ram(struct machine *m, struct checkpoint *c)
{
    c->list = malloc(m->ram_size / PAGE * 8);
    if (!c->list)
        return false;
    int64_t written = written_pages(m, c->list);
    c->count = written < 0 ? differing_pages(m, c->list) : (size_t)written;
    uint64_t *shorter = realloc(c->list, c->count * 8 + 8);
    c->list = shorter ? shorter : c->list;
    c->pages = malloc(c->count * PAGE + 1);
    for (size_t i = 0; c->pages && i < c->count; i++)
        memcpy(c->pages + i * PAGE, m->ram + c->list[i] * PAGE, PAGE);
    return c->pages;
}

/* The machine as it is now. NULL: there is no memory for it. */
EXPORT struct checkpoint *kobox_checkpoint(struct machine *m)
{
    struct checkpoint *c = calloc(1, sizeof *c);
    if (!c || !(c->state = malloc(kobox_state_size(m))) || !keep_ram(m, c)) {
        kobox_checkpoint_free(c);
        return NULL;
    }
    kobox_state_save(m, c->state);
    c->console = m->console_written;
    return c;
}

/* The checkpoint of a machine as it stood in its snapshot: RAM is the file's, so only CPU and devices need keeping. */
EXPORT struct checkpoint *kobox_checkpoint_of(struct machine *m, const uint8_t *state)
{
    struct checkpoint *c = calloc(1, sizeof *c);
    if (!c || !(c->state = malloc(kobox_state_size(m)))) {
        kobox_checkpoint_free(c);
        return NULL;
    }
    memcpy(c->state, state, kobox_state_size(m));
    return c;
}

/* Give one page back. True: it had changed. */
static bool restore_page(struct machine *m, uint64_t page, const uint8_t *want)
{
    if (!memcmp(m->ram + page * PAGE, want, PAGE))
        return false;
    memcpy(m->ram + page * PAGE, want, PAGE);
    if (bit_of(m->code_pages, page))
        drop_code_page(m, page);
    return true;
}

/*
 * Give RAM and devices back as they were. Only pages written since the snapshot are looked at; one that differs is
 * copied back, and its translated code, if it had any, is dropped. Translations of all other code stay warm.
 * Returns how many pages had changed; -1: there is no memory for the list of them, and nothing was done.
 */
EXPORT int64_t kobox_restore(struct machine *m, const struct checkpoint *c)
{
    uint64_t *list = malloc(m->ram_size / PAGE * 8);
    if (!list)
        return -1;
    int64_t written = written_pages(m, list), count = written < 0 ? (int64_t)(m->ram_size / PAGE) : written, differing = 0;
    size_t next = 0;
    for (int64_t i = 0; i < count; i++) {
        uint64_t page = written < 0 ? (uint64_t)i : list[i];
        while (next < c->count && c->list[next] < page)
            next++;
        bool kept = next < c->count && c->list[next] == page;
        differing += restore_page(m, page, kept ? c->pages + next * PAGE : page_at_snapshot(m, page));
    }
    free(list);
    drop_stale(m);
    kobox_state_load(m, c->state);
    m->console_written = c->console;
    return differing;
}

/* ---- RAM in a file ---------------------------------------------------------------------------------------------------------- */
/* Say of each page whether a file needs to hold it. Memory that nobody has touched is not looked at. False: no memory. */
static bool find_used(struct machine *m, uint8_t *used)
{
    uint64_t pages = m->ram_size / PAGE, *list = m->base ? NULL : malloc(pages * 8);
    if (!m->base && !list)
        return false;
    int64_t written = m->base ? -1 : written_pages(m, list), count = written < 0 ? (int64_t)pages : written;
    memset(used, 0, pages);
    for (int64_t i = 0; i < count; i++) {
        uint64_t page = written < 0 ? (uint64_t)i : list[i];
        used[page] = memcmp(m->ram + page * PAGE, zeroes, PAGE) != 0;
    }
    free(list);
    return true;
}

/*
 * Write RAM to a file at `offset`, leaving holes for pages of zeroes. `used` gets one byte a page: 1 where the file holds
 * data. Returns the number of such pages, or -errno.
 */
EXPORT int64_t kobox_ram_save(struct machine *m, int fd, uint64_t offset, uint8_t *used)
{
    uint64_t pages = m->ram_size / PAGE;
    int64_t count = 0;
    if (!find_used(m, used))
        return -ENOMEM;
    for (uint64_t page = 0, end; page < pages; page = end + 1) {
        for (end = page; end < pages && used[end]; end++)
            count++;
        for (uint64_t at = page * PAGE; at < end * PAGE;) {
            ssize_t done = pwrite(fd, m->ram + at, end * PAGE - at, (off_t)(offset + at));
            if (done < 0 && errno == EINTR)
                continue;
            if (done <= 0)
                return done && errno ? -errno : -EIO;
            at += (uint64_t)done;
        }
    }
    return ftruncate(fd, (off_t)(offset + m->ram_size)) ? -errno : count;
}
