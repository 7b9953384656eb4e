/*
 * Virtual time: blocks executed, plus what was slept. The budget is how many blocks may be executed before the run loop looks
 * again at timers, interrupts and its own limits.
 *
 * Work is what a limit on a guest counts: the blocks that were executed, and, for whatever else it makes the machine do (the CPU
 * started and stopped, a wake-up, a callback, memory looked at for a check), as many as would have taken the host as long. It
 * is the same in every run, and no guest gets round it.
 */
#include "machine.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

/* How long so many blocks last, from now on. */
static uint64_t duration(const struct machine *m, int64_t blocks)
{
    int64_t rested = BUSY_BLOCKS - m->dev.busy;
    if (blocks <= rested)
        return (uint64_t)blocks * NS_PER_BLOCK;
    rested = rested > 0 ? rested : 0;
    return (uint64_t)rested * NS_PER_BLOCK + (uint64_t)(blocks - rested) * NS_PER_BUSY_BLOCK;
}

/* After how many blocks so many nanoseconds will have passed: one more than fit, unless that is in the other pace. */
uint64_t blocks_until(const struct machine *m, uint64_t ns)
{
    int64_t rested = BUSY_BLOCKS - m->dev.busy;
    if (rested <= 0)
        return ns / NS_PER_BUSY_BLOCK + 1;
    uint64_t blocks = ns / NS_PER_BLOCK + 1;
    return blocks < (uint64_t)rested ? blocks : (uint64_t)rested;
}

void sync_time(struct machine *m)
{
    int64_t spent = m->granted - m->budget;
    m->dev.time += duration(m, spent);
    m->dev.busy += spent;
    m->blocks += (uint64_t)spent;
    m->granted = m->budget;
}

uint64_t now(const struct machine *m) { return m->dev.time + duration(m, m->granted - m->budget); }

/*
 * Something has read the clock. That takes READ_NS, and a few nanoseconds more, never the same: code that gathers entropy from that
 * finds some, and all of it is the same in every run.
 */
uint64_t read_clock(struct machine *m)
{
    m->dev.jitter = m->dev.jitter * 6364136223846793005ull + 1442695040888963407ull;
    m->dev.time += READ_NS + (m->dev.jitter >> 59);
    uint64_t t = now(m);
    if (t >= m->wake)
        kick(m);
    return t;
}

/* A CPU has nothing to do, or a program has asked for its next system call. */
void rest(struct machine *m)
{
    sync_time(m);
    m->dev.busy = 0;
}

void kick(struct machine *m)
{
    sync_time(m);
    m->granted = m->budget = 0;
}

uint64_t work_done(const struct machine *m) { return m->blocks + (uint64_t)(m->granted - m->budget) + m->extra_work; }

/*
 * What cannot be seen from here, as that code changes itself and is translated anew in every round, shows in how long the host
 * took: `ran` blocks more were executed. Far beyond what any other code needs, that is work too. Nothing else asks the host
 * for the time, and virtual time does not depend on it.
 */
void spend_what_it_took(struct machine *m, uint64_t ran)
{
    const uint64_t often = 16384, ns_at_most = 1000, ns_each = 50;
    struct timespec t;
    m->unmeasured += ran;
    if (m->unmeasured < often)
        return;
    m->unmeasured = 0;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    uint64_t ns = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec, took = ns - m->measured_ns;
    uint64_t allowed = (work_done(m) - m->measured_work) * ns_at_most;
    bool known = m->measured_ns && took < 1ull << 40; /* else this run has only begun, or it was another thread */
    if (known && took > allowed)
        spend(m, (took - allowed) / ns_each);
    m->measured_ns = ns;
    m->measured_work = work_done(m);
}

/* Something was done that took the host as long as so many blocks. No virtual time passes. */
void spend(struct machine *m, uint64_t blocks)
{
    m->extra_work += blocks;
    if (work_done(m) >= m->work_end)
        kick(m);
}

/* From a device's callback: what it did takes as long as so many blocks. */
EXPORT void kobox_spend(struct machine *m, uint64_t blocks) { spend(m, blocks); }

/* An event inside the CPU that is no block, as an exception: it costs one, and no virtual time. */
void spend_event(struct machine *m)
{
    m->first_block = true; /* Unicorn does not tell of the block that it translates next */
    spend(m, 1);
    if (work_done(m) >= m->work_end) {
        m->budget = -1;
        m->api.emu_stop(m->uc);
    }
}

void fail(struct machine *m, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(m->error, sizeof m->error, format, args);
    va_end(args);
    m->event = EV_ERROR;
}

EXPORT uint64_t kobox_time(struct machine *m) { return now(m); }
EXPORT uint64_t kobox_blocks(struct machine *m) { return m->blocks; }
/* Where Python reads how much work was done: it asks after each kobox_run(). */
EXPORT const uint64_t *kobox_work(struct machine *m) { return &m->work_seen; }

/* Time passes as if the CPU had been taken away: while the machine stands still, or in a callback. Timers are then due at once. */
EXPORT void kobox_pass(struct machine *m, uint64_t ns)
{
    sync_time(m);
    m->dev.time += ns;
    if (m->in_callback && m->platform->next_due(m) <= m->dev.time)
        kick(m);
}
