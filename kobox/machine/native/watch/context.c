/*
 * What the CPU may do when watched code calls the kernel, and which locks that code holds.
 *
 * Python says what functions are: which take, try or release a lock of which kind, which may sleep. What they do is noted
 * here, per stack; Python is asked only where there may be something to report, or for what it has to keep: a call chain
 * that is met for the first time, a pair of locks that was never taken in this order, a lock in a context where it was
 * not taken before. Sources: include/linux/preempt.h, kernel/locking/.
 */
#include "watch.h"

#include <stddef.h>

#define MAX_HOLDERS 64
#define MAX_HELD 24
#define MAX_LOCKS 512
#define NOTHING_ASKED (~0ull) /* for a limit: Python looks itself, when it wants to know */
#define FAR 0x8000 /* bytes of memory that is freed and that nobody tracks, in which locks may lie */

struct holder { uint64_t stack; size_t count; struct held held[MAX_HELD]; };
struct set { uint64_t keys[1024]; size_t count; };

struct context {
    struct cpu_places at;
    uint64_t off_limit;  /* how many ns interrupts may be off */
    uint32_t base;       /* preempt_count as it was when it was last reported */
    struct holder holders[MAX_HOLDERS];
    size_t holder_count, last;
    struct set traces, orders, contexts;
    uint64_t locks[MAX_LOCKS]; /* that Python keeps something about */
    size_t lock_count;
};

/* ---- a set of numbers that forgets all when it is full: then Python is asked again --------------------------------------- */
static uint64_t mix(uint64_t a, uint64_t b)
{
    a = (a ^ b * 0x9E3779B97F4A7C15ull) * 0xBF58476D1CE4E5B9ull;
    return a ^ a >> 29;
}

static void empty(struct set *s) { memset(s, 0, sizeof *s); }

static bool has(const struct set *s, uint64_t key)
{
    key |= !key;
    for (size_t n = key;; n++) {
        uint64_t there = s->keys[n % 1024];
        if (there == key || !there)
            return there;
    }
}

static void put(struct set *s, uint64_t key)
{
    key |= !key;
    if (has(s, key))
        return;
    if (s->count++ > 700)
        empty(s);
    size_t n = key;
    while (s->keys[n % 1024])
        n++;
    s->keys[n % 1024] = key;
}

/* ---- the state of the CPU ------------------------------------------------------------------------------------------------ */
static bool read_word(struct machine *m, uint64_t va, void *out, size_t size)
{
    uint64_t pa = va >> 63 ? physical(m, va) : UNMAPPED;
    if (pa >= NOT_RAM || pa + size > m->ram_size)
        return false;
    memcpy(out, m->ram + pa, size);
    return true;
}

static uint64_t current_task(struct machine *m)
{
    uint64_t task = 0;
    if (m->watch->context->at.current == NOWHERE)
        return task_by_register(m);
    read_word(m, per_cpu_base(m) + m->watch->context->at.current, &task, 8);
    return task;
}

/* What holds now, in `held`. False: it cannot be read. */
static bool read_state(struct machine *m, struct held *held)
{
    const struct context *c = m->watch->context;
    held->count = held->rcu = 0;
    held->interrupts = interrupts_enabled(m);
    held->time = now(m);
    if (!read_word(m, c->at.count == NOWHERE ? current_task(m) + c->at.count_in_task : per_cpu_base(m) + c->at.count, &held->count, 4))
        return false;
    held->count &= 0xFFFFFF;
    if (c->at.rcu && (!read_word(m, current_task(m) + c->at.rcu, &held->rcu, 4) || held->rcu >> 31))
        held->rcu = 0;
    return true;
}


/* ---- who holds what ------------------------------------------------------------------------------------------------------ */
static struct holder *holder_of(struct context *c, uint64_t stack, bool make)
{
    if (c->last < c->holder_count && c->holders[c->last].stack == stack)
        return &c->holders[c->last];
    for (size_t i = 0; i < c->holder_count; i++)
        if (c->holders[i].stack == stack)
            return &c->holders[c->last = i];
    if (!make)
        return NULL;
    size_t i = 0;
    if (c->holder_count < MAX_HOLDERS)
        i = c->holder_count++;
    else
        while (i < MAX_HOLDERS - 1 && c->holders[i].count) /* one that holds nothing, or else the last */
            i++;
    c->holders[i] = (struct holder){.stack = stack};
    return &c->holders[c->last = i];
}

/* Whether the code on a stack holds what forbids sleeping and is not counted. */
static bool holds_uncounted(struct context *c, uint64_t stack)
{
    const struct holder *h = c->at.uncounted ? holder_of(c, stack, false) : NULL;
    for (size_t n = h ? h->count : 0; n--;)
        if (c->at.uncounted >> h->held[n].kind & 1)
            return true;
    return false;
}

static bool may_sleep(struct context *c, const struct held *now_is)
{
    return now_is->interrupts && !now_is->count && !now_is->rcu && !holds_uncounted(c, STACK_OF(now_is->sp));
}

static void push(struct holder *h, const struct held *held)
{
    if (h->count == MAX_HELD)
        memmove(h->held, h->held + 1, --h->count * sizeof *h->held);
    h->held[h->count++] = *held;
}

static bool take_off(struct holder *h, uint8_t kind, uint64_t address, struct held *found)
{
    for (size_t n = h->count; n--;) {
        if (h->held[n].kind != kind || h->held[n].address != address)
            continue;
        *found = h->held[n];
        memmove(h->held + n, h->held + n + 1, (--h->count - n) * sizeof *h->held);
        return true;
    }
    return false;
}

/* Strike out what was taken last of that kind and address, by this holder or else by any. */
static bool strike_out(struct context *c, uint64_t stack, uint8_t kind, uint64_t address, struct held *found)
{
    struct holder *own = holder_of(c, stack, false);
    if (own && take_off(own, kind, address, found))
        return true;
    for (size_t i = 0; i < c->holder_count; i++)
        if (&c->holders[i] != own && take_off(&c->holders[i], kind, address, found))
            return true;
    return false;
}

/* ---- asking Python ------------------------------------------------------------------------------------------------------- */
/* `held`: the lock and the state in which it is taken or released. */
static int ask(struct machine *m, enum question question, const struct context_rule *rule, const struct held *held)
{
    if (m->watch->context->off_limit == NOTHING_ASKED)
        return 0;
    m->watch->context_event = *held;
    return ask_python(m, ASK_CONTEXT, held->caller, held->address, rule->address, 0, question);
}

/* Python keeps the chain of calls: of those by the same instruction in a frame at the same place the first one. */
static void keep_trace(struct machine *m, const struct context_rule *rule, const struct held *held)
{
    struct context *c = m->watch->context;
    uint64_t key = mix(held->caller, held->sp);
    if (!has(&c->traces, key)) {
        ask(m, ASK_TRACE, rule, held);
        put(&c->traces, key);
    }
}

/* ---- taking -------------------------------------------------------------------------------------------------------------- */
/* Whether the lock's own word leaves room for doubt that it will ever be had. */
static bool may_deadlock(struct machine *m, const struct context_rule *rule, uint64_t lock)
{
    uint64_t word = 0;
    if (rule->word == WORD_U32)
        return read_word(m, lock, &word, 4) && word;
    return rule->word == WORD_OWNER && read_word(m, lock + rule->offset, &word, 8) && word &&
           (word & ~7ull) == current_task(m);
}

static void note_lock(struct context *c, uint64_t lock)
{
    for (size_t n = 0; n < c->lock_count; n++)
        if (c->locks[n] == lock)
            return;
    if (c->lock_count < MAX_LOCKS)
        c->locks[c->lock_count++] = lock;
}

/* Whether a lock is taken in an order that Python has not seen since the last new one. */
static bool is_new_order(struct context *c, const struct holder *h, const struct held *lock, bool enter)
{
    bool any = false;
    uint64_t all = 0;
    for (size_t n = 0; n < h->count; n++)
        if (h->held[n].address)
            all ^= mix(h->held[n].address, 2);
    for (size_t n = 0; n < h->count; n++) {
        uint64_t first = h->held[n].address;
        if (!first || first == lock->address)
            continue;
        uint64_t key = mix(mix(first, lock->address), all);
        any |= !has(&c->orders, key);
        if (enter) {
            put(&c->orders, key);
            note_lock(c, first);
            note_lock(c, lock->address);
        }
    }
    return any;
}

/* Contexts in which a spinning lock is taken: what Python must know to tell where an interrupt would wait for ever. */
static void note_context(struct machine *m, const struct context_rule *rule, const struct held *lock)
{
    struct context *c = m->watch->context;
    unsigned hard = (lock->count & 0xFF0000) != 0, soft = !hard && lock->count & 0x100;
    unsigned open = lock->interrupts && !hard && !(rule->flags & LOCK_IRQ);
    unsigned open_soft = open && !(lock->count & 0xFFFF00) && !(rule->flags & LOCK_BH);
    uint64_t key = mix(lock->address, 16 | hard | soft << 1 | open << 2 | open_soft << 3);
    if (!(hard | soft | open | open_soft) || has(&c->contexts, key))
        return;
    put(&c->contexts, key);
    note_lock(c, lock->address);
    ask(m, ASK_NEW_CONTEXT, rule, lock);
}

static void take(struct machine *m, const struct context_rule *rule, const struct held *lock, bool waits)
{
    struct context *c = m->watch->context;
    struct holder *h = holder_of(c, STACK_OF(lock->sp), true);
    if (lock->address && waits && h->count && is_new_order(c, h, lock, false)) {
        if (ask(m, ASK_NEW_ORDER, rule, lock)) /* there is a new one: others may close a circle now */
            empty(&c->orders);
        is_new_order(c, h, lock, true);
    }
    push(h, lock);
}

/*
 * Whether it is held already. The same instruction takes a lock twice when a store-exclusive has failed and the load before it is
 * executed again; a section may begin in several pieces.
 */
static bool takes_again(struct context *c, const struct context_rule *rule, const struct held *lock)
{
    const struct holder *h = holder_of(c, STACK_OF(lock->sp), false);
    for (size_t n = h ? h->count : 0; n--;)
        if (h->held[n].address == lock->address && h->held[n].kind == lock->kind &&
            (h->held[n].caller == lock->caller || rule->role == OPENS))
            return true;
    return false;
}

/* At an instruction of the module's that takes a lock: one that only tries has seen before that nobody holds it. */
static void begin_taking_inline(struct machine *m, const struct context_rule *rule, struct held *lock)
{
    bool waits = rule->role != TRIES, held = may_deadlock(m, rule, lock->address);
    keep_trace(m, rule, lock);
    if (held && waits)
        ask(m, ASK_DEADLOCK, rule, lock);
    if ((held && !waits) || takes_again(m->watch->context, rule, lock))
        return;
    take(m, rule, lock, waits && rule->role != OPENS);
    if (rule->flags & LOCK_SPINS)
        note_context(m, rule, lock);
}

/* A function that may fail to take a lock has returned. */
static void lock_returned(struct machine *m, const struct awaited *a)
{
    uint32_t wanted = a->rule.role == TRIES;
    if ((uint32_t)live_reg(m, R_RESULT) == wanted)
        take(m, &a->rule, &a->lock, a->rule.role == TAKES_OR_FAILS);
}

static void begin_taking(struct machine *m, const struct context_rule *rule, struct held *lock)
{
    bool waits = rule->role == TAKES || rule->role == TAKES_OR_FAILS;
    keep_trace(m, rule, lock);
    if (waits && may_deadlock(m, rule, lock->address))
        ask(m, ASK_DEADLOCK, rule, lock);
    if (rule->role == TAKES || rule->role == OPENS) {
        take(m, rule, lock, rule->role == TAKES);
        if (rule->role == TAKES && rule->flags & LOCK_SPINS)
            note_context(m, rule, lock);
    } else {
        await_return(m, &(struct awaited){.what = AWAIT_LOCK, .returned = lock_returned, .function = rule->address, .lock = *lock, .rule = *rule});
    }
}

/* ---- releasing ----------------------------------------------------------------------------------------------------------- */
static void look_at_off(struct machine *m, const struct context_rule *rule, const struct held *since, const struct held *at)
{
    if (at->time - since->time <= m->watch->context->off_limit)
        return;
    m->watch->context_since = *since;
    ask(m, ASK_OFF, rule, at);
}

/* spin_unlock_irqrestore(lock, saved): flags that were saved with interrupts off leave them so, though they were on when the
 * lock was taken. That counts as turning them off, until flags turn them on again (locks may be let go crosswise). */
static void restore_flags(struct machine *m, const struct context_rule *rule, const struct held *lock, const struct held *taken)
{
    struct context *c = m->watch->context;
    struct held off = *lock, found;
    off.kind = rule->other, off.address = 0;
    if (turns_interrupts_on(live_argument(m, 1))) {
        strike_out(c, STACK_OF(lock->sp), off.kind, 0, &found);
    } else if (taken->interrupts) {
        keep_trace(m, rule, &off);
        push(holder_of(c, STACK_OF(lock->sp), true), &off);
    }
}

static void release(struct machine *m, const struct context_rule *rule, const struct held *lock)
{
    struct context *c = m->watch->context;
    struct held found;
    if (!strike_out(c, STACK_OF(lock->sp), lock->kind, lock->address, &found)) {
        if (rule->role != CLOSES)
            ask(m, ASK_NOT_HELD, rule, lock);
    } else if (rule->flags & LOCK_SPINS && !lock->interrupts) {
        if (found.interrupts)
            look_at_off(m, rule, &found, lock);
        if (rule->flags & LOCK_RESTORES)
            restore_flags(m, rule, lock, &found);
    }
    if (rule->role == DOWNGRADES) {
        struct held reading = *lock;
        reading.kind = rule->other;
        keep_trace(m, rule, lock);
        push(holder_of(c, STACK_OF(lock->sp), true), &reading);
    }
}

/* ---- the module's own instructions: preempt_disable(), local_irq_disable() ------------------------------------------------- */
static void switch_section(struct machine *m, const struct context_rule *rule, struct held *section)
{
    struct context *c = m->watch->context;
    struct held found;
    bool off = rule->role == TURNS_OFF;
    if (rule->flags & LOCK_RESTORES) /* local_irq_restore(flags) */
        off = !turns_interrupts_on(live_reg(m, rule->place - 1u));
    section->address = 0;
    if (off) {
        if (rule->flags & SECTION_INTERRUPTS && !section->interrupts)
            return;
        keep_trace(m, rule, section);
        push(holder_of(c, STACK_OF(section->sp), true), section);
    } else if (!(rule->flags & SECTION_INTERRUPTS && section->interrupts) &&
               strike_out(c, STACK_OF(section->sp), section->kind, 0, &found) && rule->flags & SECTION_INTERRUPTS) {
        look_at_off(m, rule, &found, section);
    }
}

/* ---- where system calls begin and end, and memory goes ------------------------------------------------------------------- */
static void look_at_open(struct machine *m, const struct context_rule *rule, const struct held *now_is)
{
    const struct context *c = m->watch->context;
    const struct holder *h = holder_of(m->watch->context, STACK_OF(now_is->sp), false);
    if ((h && h->count) || (rule->role == ENTERS_CALL && now_is->count != c->base))
        ask(m, ASK_OPEN, rule, now_is);
}

/* Whether a lock lies in the object that begins at `start`: up to where nobody may touch it, if it is tracked. */
static bool lies_in(struct machine *m, uint64_t lock, uint64_t start)
{
    if (lock < start || lock - start >= FAR)
        return false;
    uint64_t pa = physical(m, start);
    if (pa >= NOT_RAM || !m->watch->shadow[pa])
        return true;
    for (uint64_t at = start; at < lock; at++) {
        pa = physical(m, at);
        if (pa >= NOT_RAM || !m->watch->shadow[pa] || m->watch->shadow[pa] & FORBIDDEN)
            return false;
    }
    return true;
}

/* Locks in memory that is freed are no more, and others may come to lie there. */
static void look_at_freed(struct machine *m, const struct context_rule *rule, const struct held *now_is)
{
    struct context *c = m->watch->context;
    uint64_t start = live_argument(m, rule->argument);
    bool any = false;
    for (size_t n = c->lock_count; n--;) {
        if (!lies_in(m, c->locks[n], start))
            continue;
        struct held gone = *now_is;
        gone.address = c->locks[n];
        c->locks[n] = c->locks[--c->lock_count];
        ask(m, ASK_FREED, rule, &gone);
        any = true;
    }
    if (any) {
        empty(&c->orders);
        empty(&c->contexts);
    }
}

/* What the register holds that an instruction of the module's names. */
static uint64_t own_operand(const struct machine *m, const struct context_rule *rule)
{
    return rule->place == BARE ? 0 : live_reg(m, rule->place - 1u);
}

void context_reached(struct machine *m, const struct context_rule *rule, bool from_module)
{
    struct context *c = m->watch->context;
    uint64_t sp = live_sp(m);
    bool anybody = rule->role == ENTERS_CALL || rule->role == LEAVES_CALL || rule->role == ENDS_TASK;
    bool own = rule->place != AT_FUNCTION;
    struct held held = {.kind = rule->kind, .sp = sp, .caller = own ? rule->address : m->watch->caller};
    if (!c || (!from_module && !anybody && !own))
        return;
    if (rule->role == ENDS_TASK) { /* what it held cannot be told from what the next one holds on the same stack */
        struct holder *h = holder_of(c, STACK_OF(sp), false);
        if (h)
            h->count = 0;
        return;
    }
    if (!read_state(m, &held))
        return;
    if (rule->sleeps && !may_sleep(c, &held) &&
        (rule->sleeps == ALWAYS_SLEEPS || live_argument(m, rule->argument) & DIRECT_RECLAIM))
        ask(m, ASK_SLEEP, rule, &held);
    held.address = rule->role == OPENS || rule->role == CLOSES ? 0 : !own ? live_argument(m, 0) : own_operand(m, rule);
    switch (rule->role) {
    case TAKES:
    case TAKES_OR_FAILS:
    case TRIES:
    case OPENS: own ? begin_taking_inline(m, rule, &held) : begin_taking(m, rule, &held); break;
    case RELEASES:
    case DOWNGRADES:
    case CLOSES: release(m, rule, &held); break;
    case TURNS_OFF:
    case TURNS_ON: switch_section(m, rule, &held); break;
    case ENTERS_CALL:
    case LEAVES_CALL: look_at_open(m, rule, &held); break;
    case FREES_LOCKS: look_at_freed(m, rule, &held); break;
    default: break;
    }
}

/* ---- for Python ------------------------------------------------------------------------------------------------------------ */
EXPORT int kobox_watch_context(struct machine *m, const struct cpu_places *at, uint64_t off_limit)
{
    struct watch *w = m->watch;
    if (w && !w->context)
        w->context = calloc(1, sizeof *w->context);
    if (!w || !w->context)
        return -1;
    struct cpu_places places = *at;
    *w->context = (struct context){.at = places, .off_limit = off_limit};
    return 0;
}

void context_forget(struct watch *w)
{
    free(w->context);
    w->context = NULL;
    w->awaited_count = 0;
}

EXPORT void kobox_watch_context_base(struct machine *m, uint32_t count)
{
    if (m->watch && m->watch->context)
        m->watch->context->base = count;
}

/* Nobody holds anything any more: another life of the module begins. */
EXPORT void kobox_watch_context_reset(struct machine *m)
{
    struct context *c = m->watch ? m->watch->context : NULL;
    if (c)
        kobox_watch_context(m, &c->at, c->off_limit);
}

/* What is held on a stack (0: on each of them, one after the other), in the order of taking: how many, at most `most` of them in
 * `out`. */
EXPORT int kobox_watch_held(struct machine *m, uint64_t stack, struct held *out, int most)
{
    const struct context *c = m->watch ? m->watch->context : NULL;
    int count = 0;
    for (size_t i = 0; c && i < c->holder_count; i++)
        for (size_t n = 0; (!stack || c->holders[i].stack == stack) && n < c->holders[i].count && count < most; n++)
            out[count++] = c->holders[i].held[n];
    return count;
}

/* The first who holds a lock, whoever asks. */
EXPORT int kobox_watch_holder(struct machine *m, uint64_t address, struct held *out)
{
    const struct context *c = m->watch ? m->watch->context : NULL;
    for (size_t i = 0; c && i < c->holder_count; i++)
        for (size_t n = 0; n < c->holders[i].count; n++)
            if (c->holders[i].held[n].address == address) {
                *out = c->holders[i].held[n];
                return 1;
            }
    return 0;
}

/* On a stack nothing is held any more, or (kind >= 0) nothing of a kind. */
EXPORT void kobox_watch_drop_held(struct machine *m, uint64_t stack, int kind)
{
    struct context *c = m->watch ? m->watch->context : NULL;
    struct holder *h = c ? holder_of(c, stack, false) : NULL;
    struct held found;
    if (h && kind < 0)
        h->count = 0;
    for (size_t n = h ? h->count : 0; n-- && kind >= 0;)
        if (h->held[n].kind == kind)
            take_off(h, (uint8_t)kind, h->held[n].address, &found);
}

/* In an answer to a question: what it is about, and (`since`) when interrupts were turned off. */
EXPORT void kobox_watch_context_event(struct machine *m, struct held *out, int since)
{
    if (m->watch)
        *out = since ? m->watch->context_since : m->watch->context_event;
}

EXPORT int kobox_watch_context_rule(struct machine *m, const struct context_rule *rule, int entry)
{
    struct rule *there = m->watch ? rule_at(m, rule->address, entry) : NULL;
    if (!there || rule->argument >= ARGUMENTS || (rule->place > REGISTERS && rule->place != BARE) ||
        (rule->flags & LOCK_RESTORES && rule->place == BARE))
        return -1;
    size_t n = 0;
    while (rule->place != AT_FUNCTION && n < CONTEXT_RULES && there->context[n].address)
        n++;
    if (n == CONTEXT_RULES)
        return -1;
    there->context[n] = *rule;
    return 0;
}
