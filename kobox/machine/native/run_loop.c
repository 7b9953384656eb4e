/* The run loop: timers, interrupts, limits, and the CPU in between. */
#include "machine.h"

#define RUN_STOP_WHEN_IDLE 1u
#define SOON 32      /* blocks until the CPU is looked at again when an interrupt waits for it to accept one */
#define LEAST_WORK 1000000 /* which kobox_run() may do, however few blocks it is to execute */
#define MOST_BLOCKS 131072 /* between two looks at how long it takes */
#define PASS_COST 16 /* to start and stop the CPU takes as long as so many blocks */
#define WAKE_COST 2  /* and to find out that a timer's interrupt does not wake it, as so many */

/* The CPU waits for an interrupt: let time pass until one is due. True: `*event` is why that does not help. */
static bool wait_for_interrupt(struct machine *m, uint64_t until, unsigned flags, enum event *event)
{
    uint64_t due = m->platform->next_due(m);
    *event = EV_IDLE;
    rest(m);
    if (flags & RUN_STOP_WHEN_IDLE)
        return true;
    if (due > until) {
        if (until > m->dev.time && until != ~0ull)
            m->dev.time = until;
        *event = until == ~0ull ? EV_IDLE : EV_DEADLINE;
        return true;
    }
    if (due > m->dev.time)
        m->dev.time = due;
    spend(m, WAKE_COST);
    return false;
}

/* Until when the CPU may run undisturbed, in blocks. */
static uint64_t next_grant(struct machine *m, uint64_t until, uint64_t end, bool interrupt_waits)
{
    uint64_t due = m->platform->next_due(m), grant = end - m->blocks;
    if (due > until)
        due = until;
    m->wake = due;
    if (due != ~0ull) {
        uint64_t wait = blocks_until(m, due - m->dev.time);
        grant = wait < grant ? wait : grant;
    }
    return interrupt_waits && grant > SOON ? SOON : grant;
}

/* Let the CPU run for `grant` blocks. True: it has stopped by itself, which only waiting for an interrupt does. */
static bool execute(struct machine *m, uint64_t grant)
{
    uint64_t before = m->blocks;
    grant = grant < MOST_BLOCKS ? grant : MOST_BLOCKS;
    m->granted = m->budget = (int64_t)grant;
    m->first_block = true;
    m->excused = false;
    uc_err err = m->api.emu_start(m->uc, m->pc, 0, 0, 0);
    bool spent = m->budget < 0 || m->yielded;
    m->yielded = false;
    if (m->budget < 0)
        m->budget = 0;
    sync_time(m);
    count_turn(m, m->blocks - before);
    spend(m, PASS_COST);
    spend_what_it_took(m, m->blocks - before);
    if (err != UC_ERR_OK && !m->excused)
        fail(m, "the CPU stopped: %s", m->api.strerror(err));
    return !spent;
}

static enum event run(struct machine *m, uint64_t until, int64_t blocks, unsigned flags);

/*
 * Run until something happens. `until` is an absolute virtual time in ns, `blocks` how many basic blocks
 * at most, or as much work (clock.c). Returns an enum event.
 */
EXPORT int kobox_run(struct machine *m, uint64_t until, int64_t blocks, unsigned flags)
{
    enum event event = run(m, until, blocks, flags);
    m->work_seen = work_done(m);
    return event;
}

static enum event run(struct machine *m, uint64_t until, int64_t blocks, unsigned flags)
{
    uint64_t end = m->blocks + (uint64_t)blocks, work = blocks > LEAST_WORK ? (uint64_t)blocks : LEAST_WORK;
    enum event event;
    m->event = EV_NONE;
    m->error[0] = 0;
    m->translated = 0;
    m->measured_ns = 0; /* what the host did between two runs is no work of the guest's */
    m->work_end = work_done(m) + work;
    if (m->cpus.count == 1)
        m->cpus.state[0] = CPU_RUNS; /* one that waits goes round its idle loop once more */
    for (;;) {
        m->platform->raise_due(m);
        drop_stale(m);
        bool waiting = !choose_cpu(m);
        m->pc = m->platform->pc(m);
        bool open = (!waiting || m->cpus.count == 1) && m->platform->accepts_interrupts(m);
        int number = m->platform->pending_interrupt(m);
        if (number >= 0 && open) {
            m->platform->take_interrupt(m, number);
            waiting = false;
            number = m->platform->pending_interrupt(m);
        }
        if (number >= 0 && m->platform->wakes_masked)
            waiting = false;
        if (m->event)
            return m->event;
        if (m->blocks >= end || work_done(m) >= m->work_end)
            return EV_SLICE;
        if (waiting) {
            if (m->cpus.count > 1 && !any_cpu_can_wake(m))
                return EV_HALTED;
            if (wait_while_held(m)) {
                spend(m, WAKE_COST);
                continue;
            }
            if (wait_for_interrupt(m, until, flags, &event))
                return event;
            continue;
        }
        if (m->dev.time >= until)
            return EV_DEADLINE;
        m->cpus.state[m->cpus.current] = CPU_RUNS;
        m->interrupt_waits = number >= 0;
        bool stopped = execute(m, limit_to_turn(m, next_grant(m, until, end, number >= 0)));
        if (m->event == EV_ERROR)
            return EV_ERROR;
        if (m->platform->deliver_deferred(m))
            continue;
        if (m->event)
            return m->event;
        if (stopped) {
            bool can_wake = m->platform->can_wake(m);
            if (!can_wake && m->cpus.count == 1)
                return EV_HALTED;
            m->cpus.state[m->cpus.current] = can_wake ? CPU_HALTED : CPU_DEAD;
        }
    }
}

/* In a callback: make kobox_run() come back before the next block. */
EXPORT void kobox_stop(struct machine *m)
{
    m->event = EV_STOPPED;
    m->api.emu_stop(m->uc);
}

EXPORT const char *kobox_error(struct machine *m) { return m->error; }
