/*
 * Several CPUs on one engine: which of them has it, and for how long.
 *
 *       choose_cpu()   whose turn it is: round robin, at random, by priority; never a CPU that waits, or is held
 *         |  switch_to(): the engine's CPU state goes to parked[old], parked[new] goes to the engine
 *         v
 *       run_loop.c     grants it no more blocks than its turn has
 *
 * Translations are by physical address, so they serve all CPUs; the TLB is dropped where paging differs. One clock serves all:
 * a block of any CPU takes its time. The schedule is part of the machine's state: the same one gives the same run.
 */
#include "processor.h"

#define LONG_TURN (1 << 20) /* blocks while no other CPU is ready */
#define MOST_ALONE 20000    /* blocks that a CPU may have by priority while another one is ready: it may be spinning for its lock */

/* ---- made and freed -------------------------------------------------------------------------------------------------- */
bool make_cpus(struct machine *m, int count)
{
    for (int cpu = 0; cpu < MAX_CPUS; cpu++)
        m->cpus.state[cpu] = cpu ? CPU_OFF : CPU_RUNS;
    m->cpus.schedule.slice = 1000;
    m->cpus.schedule.held = -1;
    if (count == 1)
        return true;
    m->reset_state = malloc(m->env_size);
    for (int cpu = 0; cpu < count; cpu++)
        m->parked[cpu] = calloc(1, m->env_size);
    for (int cpu = 0; cpu < count; cpu++)
        if (!m->parked[cpu] || !m->reset_state)
            return false;
    keep_reset_state(m);
    return true;
}

void free_cpus(struct machine *m)
{
    for (int cpu = 0; cpu < MAX_CPUS; cpu++)
        free(m->parked[cpu]);
    free(m->reset_state);
}

/* ---- whose turn it is --------------------------------------------------------------------------------------------------- */
uint64_t roll(struct machine *m, uint64_t n)
{
    struct schedule *s = &m->cpus.schedule;
    s->random = s->random * 6364136223846793005ull + 1442695040888963407ull;
    return (s->random >> 33) % n;
}

static bool is_ready(struct machine *m, int cpu)
{
    switch (m->cpus.state[cpu]) {
    case CPU_RUNS:
    case CPU_STARTS:
        return true;
    case CPU_HALTED:
        return m->cpus.nmi[cpu] || m->platform->wakes(m, cpu);
    case CPU_DEAD:
        return m->cpus.nmi[cpu];
    default:
        return false;
    }
}

/* Give the engine to a CPU. */
static void switch_to(struct machine *m, int cpu)
{
    struct cpus *c = &m->cpus;
    uint8_t *out = m->parked[c->current], *in = m->parked[cpu];
    memcpy(out, m->cpu, m->env_size);
    memcpy(m->cpu, in, m->env_size);
    if (m->platform->paging_differs(out, in)) {
        m->api.ctl(m->uc, UC_CTL_WRITE(UC_CTL_TLB_FLUSH, 0));
        c->schedule.flushes++;
    }
    m->last_blocks[c->current] = m->last_block;
    m->last_block = m->last_blocks[cpu];
    c->current = cpu;
    c->schedule.switches++;
}

/* A change of priority is due at its time, or where the CPU has been alone for long. */
static int first_by_priority(struct machine *m, const int *ready, int count)
{
    struct schedule *s = &m->cpus.schedule;
    int current = m->cpus.current, best = ready[0];
    int64_t at = (int64_t)m->blocks - s->began;
    if (s->next_change < s->changes && at >= s->change[s->next_change]) {
        s->next_change++;
        s->priority[current] = --s->lowest;
    }
    if (count > 1 && s->alone > MOST_ALONE) {
        s->priority[current] = --s->lowest;
        s->alone = 0;
    }
    for (int i = 1; i < count; i++)
        if (s->priority[ready[i]] > s->priority[best])
            best = ready[i];
    if (best != current || count == 1)
        s->alone = 0;
    s->left = count > 1 ? MOST_ALONE - s->alone + 1 : LONG_TURN;
    if (s->next_change < s->changes && s->change[s->next_change] - at < s->left)
        s->left = s->change[s->next_change] - at;
    return best;
}

/* A new turn begins where the last one is over, or its CPU waits. */
static int next_in_turn(struct machine *m, const int *ready, int count, bool current_is_ready)
{
    struct schedule *s = &m->cpus.schedule;
    int current = m->cpus.current;
    if (count == 1) {
        s->solo = true;
        s->left = LONG_TURN;
        return ready[0];
    }
    if (s->solo && s->left > s->slice)
        s->left = s->slice;
    s->solo = false;
    if (current_is_ready && s->left > 0)
        return current;
    if (s->turns == TURNS_RANDOM) {
        s->left = 1 + (int64_t)roll(m, 2 * (uint64_t)s->slice - 1);
        return ready[roll(m, (uint64_t)count)];
    }
    s->left = s->slice;
    for (int i = 0; i < count; i++)
        if (ready[i] > current)
            return ready[i];
    return ready[0];
}

static void end_hold(struct machine *m)
{
    struct schedule *s = &m->cpus.schedule;
    if (m->watcher && m->watcher->hold_ends)
        m->watcher->hold_ends(m);
    if (s->held != m->cpus.current)
        s->left = 0; /* its turn */
    s->held = -1;
}

/* Give the engine to the CPU whose turn it is. False: all of them wait. A machine with one CPU has it always. */
bool choose_cpu(struct machine *m)
{
    struct cpus *c = &m->cpus;
    struct schedule *s = &c->schedule;
    int ready[MAX_CPUS], count = 0;
    bool current_is_ready = false;
    if (c->count == 1)
        return c->state[0] == CPU_RUNS;
    if (s->held >= 0 && s->hold_left <= 0)
        end_hold(m);
    for (int cpu = 0; cpu < c->count; cpu++)
        if (cpu != s->held && is_ready(m, cpu)) {
            ready[count++] = cpu;
            current_is_ready |= cpu == c->current;
        }
    if (!count)
        return false;
    int cpu = s->turns == TURNS_PRIORITY ? first_by_priority(m, ready, count) : next_in_turn(m, ready, count, current_is_ready);
    if (c->state[cpu] == CPU_STARTS)
        m->platform->start_cpu(m, m->parked[cpu], c->start_page[cpu]);
    if (cpu != c->current)
        switch_to(m, cpu);
    c->state[cpu] = CPU_RUNS;
    return true;
}

/* When all CPUs wait that are not held: whether anything can wake one. */
bool any_cpu_can_wake(struct machine *m)
{
    for (int cpu = 0; cpu < m->cpus.count; cpu++)
        if (m->cpus.state[cpu] == CPU_HALTED || (cpu == m->cpus.schedule.held && is_ready(m, cpu)))
            return true;
    return false;
}

/* All CPUs wait but for one that is held: the hold ends, unless a timer comes before that. True: there was one that is held. */
bool wait_while_held(struct machine *m)
{
    struct schedule *s = &m->cpus.schedule;
    if (s->held < 0)
        return false;
    uint64_t due = m->platform->next_due(m), now = m->dev.time;
    int64_t wait = due <= now ? 1 : due == ~0ull ? INT64_MAX : (int64_t)((due - now) / NS_PER_BUSY_BLOCK) + 1;
    if (wait > s->wait_left) {
        s->hold_left = 0;
        return true;
    }
    s->wait_left -= wait;
    if (due > now)
        m->dev.time = due;
    return true;
}

/* ---- how long a turn is --------------------------------------------------------------------------------------------------- */
uint64_t limit_to_turn(const struct machine *m, uint64_t grant)
{
    const struct schedule *s = &m->cpus.schedule;
    if (m->cpus.count == 1)
        return grant;
    int64_t most = s->left > 0 ? s->left : 1;
    if (s->held >= 0 && s->hold_left < most)
        most = s->hold_left > 0 ? s->hold_left : 1;
    return grant < (uint64_t)most ? grant : (uint64_t)most;
}

/* The current CPU has executed so many blocks. */
void count_turn(struct machine *m, uint64_t blocks)
{
    struct schedule *s = &m->cpus.schedule;
    s->left -= (int64_t)blocks;
    s->alone += (int64_t)blocks;
    if (s->held >= 0 && s->held != m->cpus.current) {
        s->hold_left -= (int64_t)blocks;
        s->wait_left -= (int64_t)blocks;
    }
}

/* A CPU stands still while the others execute so many blocks, or `wait` with the time in which all sleep. */
void hold_cpu(struct machine *m, int cpu, int64_t blocks, int64_t wait)
{
    m->cpus.schedule.held = cpu;
    m->cpus.schedule.hold_left = blocks;
    m->cpus.schedule.wait_left = wait;
}

/* ---- for Python ---------------------------------------------------------------------------------------------------------------- */
/*
 * From now on: turns of `slice` blocks in order, of up to twice as many at random, or by priority, where the running CPU becomes the
 * least important at `changes` places among the next `slice` blocks (Burckhardt et al., "A randomized scheduler with
 * probabilistic guarantees of finding bugs", 2010).
 */
EXPORT void kobox_schedule(struct machine *m, int turns, int64_t slice, uint64_t seed, int changes)
{
    struct schedule *s = &m->cpus.schedule;
    s->turns = turns;
    s->slice = slice > 0 ? slice : 1;
    s->left = 0;
    s->seed = seed;
    s->random = seed * 0x9E3779B97F4A7C15ull + 1;
    roll(m, 2);
    sync_time(m);
    s->began = (int64_t)m->blocks;
    s->changes = changes < 0 ? 0 : changes < MAX_CHANGES ? changes : MAX_CHANGES;
    s->next_change = s->lowest = 0;
    s->alone = 0;
    for (int cpu = 0; cpu < m->cpus.count; cpu++)
        s->priority[cpu] = 1 + (int)roll(m, 1000);
    for (int i = 0; i < s->changes; i++) {
        int64_t at = (int64_t)roll(m, (uint64_t)s->slice), j = i;
        for (; j > 0 && s->change[j - 1] > at; j--)
            s->change[j] = s->change[j - 1];
        s->change[j] = at;
    }
    kick(m);
}

EXPORT void kobox_hold(struct machine *m, int cpu, int64_t blocks)
{
    if (cpu < m->cpus.count && m->cpus.count > 1) {
        if (m->cpus.schedule.held >= 0)
            end_hold(m);
        hold_cpu(m, cpu, blocks, blocks);
        kick(m);
    }
}

EXPORT int kobox_cpus(struct machine *m) { return m->cpus.count; }
EXPORT int kobox_cpu(struct machine *m) { return m->cpus.current; }

/* What kobox_schedule() was told, the CPU that is held or -1, and how often another CPU has got the engine. */
EXPORT void kobox_turns(struct machine *m, int64_t *out)
{
    const struct schedule *s = &m->cpus.schedule;
    out[0] = s->turns, out[1] = s->slice, out[2] = (int64_t)s->seed, out[3] = s->changes, out[4] = s->held;
    out[5] = (int64_t)s->switches;
}
