/*
 * The watcher of memory: every instruction of the modules that are watched is looked at before it is executed, and so are
 * the calls that they make into the kernel. What it knows about memory stands in the shadow, one byte for each byte of RAM:
 *
 *     0      unknown: memory of the kernel's own, anything goes
 *     1      belongs to a tracked object, and was written
 *     2      belongs to a tracked object, and holds what it held when it was allocated
 *     0x80+  must not be touched: the room round objects, freed objects, gaps between variables
 *
 *     module's instruction --UC_HOOK_CODE--> instructions.c: decode once, effective address, shadow --> report
 *     kernel's function    --block hook----> calls.c: the rule of that function, its arguments, shadow --> report
 *
 * A report goes to Python, which knows the objects. Nothing is watched where no range is set, and nothing here changes
 * what the guest does, but that fresh stack frames and objects are filled with a pattern by which unwritten bytes are known
 * later, and freed objects with another, by which it is known whether anybody has written there.
 *
 *     watch.c          opened, closed; which code is watched
 *     instructions.c   the hook on watched code
 *     arrivals.c       a function is reached that there are rules for
 *     rules.c          which rules there are, and who has called
 *     calls.c          what the kernel's functions do with their arguments
 *     variables.c      pointers into variables, followed through registers and memory
 *     values.c         unwritten bytes, followed to user space
 *     quarantine.c     freed objects that must stay as they are
 *     references.c     who still points to an object
 *     races.c          what two CPUs touch at the same moment
 *     shadow.c         what is known of memory
 *     heap.c           the objects that a module has allocated; heap_calls.c: allocators, as it calls them
 *     context.c        what the CPU may do, and the locks that are held
 *     prints.c         functions that print
 *     returns.c        functions that have to be looked at again when they return
 */
#ifndef KOBOX_WATCH_H
#define KOBOX_WATCH_H

#include "../processor.h"

#define MAX_RANGES 256
#define TLB_SIZE 1024
#define SURE_RUN 4

enum shadow { UNKNOWN = 0, WRITTEN_TO = 1, UNWRITTEN = 2, FORBIDDEN = 0x80 };
enum report { REPORT_SHADOW, REPORT_UNMAPPED, REPORT_USER, REPORT_UNINITIALISED, REPORT_BOUND, REPORT_STACK, REPORT_LOCAL, ASK_LOCAL, ASK_CONTEXT, ASK_ALLOCATION_TRACE, REPORT_HELD, REPORT_RACE };
enum { ACCESS_ATOMIC = 4, ACCESS_CALLED = 8 /* by a function that the code at `pc` called */ }; /* beside INSN_READ and _WRITE */

/* `kind`, where the code is, the address, how many bytes from there, INSN_READ or _WRITE, the shadow's byte or bound's number. */
typedef int (*watch_callback)(int kind, uint64_t pc, uint64_t address, uint64_t size, int access, uint64_t detail);

struct range { uint64_t start, end; struct insn *insns; bool retired; }; /* retired: freed, and perhaps another module's now */
struct cached_page { uint64_t page, value; const uint8_t *entry; uint64_t physical; };
struct bound { uint64_t start, end, site; };
struct room { uint64_t pc, offset, limit; };
#define ROOMS 1024
#define MAX_KEPT 1024
#define STORED 64
#define RELATIVE 0x80000000u /* in insn.bound: how many bytes from the operand's base on */

/* What a function of the kernel does with the memory that its arguments point to. */
enum rule_access { RULE_NONE, RULE_READ, RULE_WRITE, RULE_TO_USER, RULE_OBJECT, RULE_VALUE, RULE_MAY_BE_USER = 0x80 };
enum { /* else the number of the argument */
    LENGTH_CONSTANT = 8,
    LENGTH_STRING = 9,
    LENGTH_FOUND_IN_STRING = 10,  /* up to the byte that the second argument is, or the NUL */
    LENGTH_COMPARED_STRINGS = 11, /* of the first two arguments, up to where they differ */
    LENGTH_BOUNDED_STRING = 16,   /* + the number of the argument that bounds it */
    LENGTH_FOUND = 24,            /* likewise: up to the byte that the second argument is */
    LENGTH_COMPARED = 32,         /* likewise, as LENGTH_COMPARED_STRINGS */
};
struct rule_part { uint8_t access, pointer, length, limit; uint64_t constant; };
struct memory_rule { uint64_t address; struct rule_part parts[3]; uint8_t copies; };

/* A function that prints: into argument `buffer`, as many bytes as argument `size` says (255: any number); by `format`. */
enum { PRINT_ROOM = 1, PRINT_STRINGS = 2 };
struct print_rule { uint64_t address; uint8_t looks, buffer, size, format; };
#define MAX_STRINGS 8
#define FORMATS 256
struct format { uint64_t address; uint32_t count; struct { uint16_t argument, limit; } strings[MAX_STRINGS]; };

/* What a function, or an instruction of a module's, means for what the CPU may do: context.c. */
enum role {
    NO_ROLE, TAKES, TAKES_OR_FAILS, TRIES, OPENS, RELEASES, DOWNGRADES, CLOSES, TURNS_OFF, TURNS_ON, ENTERS_CALL, LEAVES_CALL,
    ENDS_TASK, FREES_LOCKS,
};
enum { LOCK_SPINS = 1, LOCK_IRQ = 2, LOCK_BH = 4, SECTION_INTERRUPTS = 8, LOCK_RESTORES = 16 };
enum { WORD_NONE, WORD_U32, WORD_OWNER };       /* how a lock itself says that it is held */
enum { NEVER_SLEEPS, ALWAYS_SLEEPS, SLEEPS_BY_FLAGS };
enum question { ASK_TRACE, ASK_SLEEP, ASK_DEADLOCK, ASK_NEW_ORDER, ASK_NEW_CONTEXT, ASK_NOT_HELD, ASK_OFF, ASK_OPEN, ASK_FREED };
#define DIRECT_RECLAIM 0x400 /* ___GFP_DIRECT_RECLAIM, include/linux/gfp_types.h */
/* `place` of a rule for one of the module's own instructions: BARE, or the register + 1 that holds the lock's address or the flags. */
enum { AT_FUNCTION = 0, BARE = 0xFF };
struct context_rule { uint64_t address; uint32_t offset; uint8_t role, kind, other, flags, word, sleeps, argument, place; };
/*
 * Where the state of the CPU stands: in each CPU's part, or else (NOWHERE) in the task that a register tells. rcu 0: not counted.
 * `uncounted` are the kinds (a bit each) that forbid sleeping and that this kernel does not count: whoever holds one must not.
 */
#define NOWHERE (~0ull)
struct cpu_places { uint64_t count, count_in_task, current, rcu, uncounted; };
/* A lock that is held or a section that is open, and what held right before: preempt_count, IF, the depth of RCU sections. */
struct held { uint64_t address, caller, sp, time; uint32_t count, rcu; uint8_t kind, interrupts; };

/* A function that allocates or frees: heap_calls.c. `function` is the number of the name by which its objects are called. */
enum allocation_how { NO_ALLOCATION, ALLOCATES, ALLOCATES_FROM_SIZED, ALLOCATES_FROM_CACHE, ON_BEHALF, FREES, FREES_TO_CACHE, PAUSES };
struct allocation_rule { uint64_t address; uint32_t function; uint8_t how, size_at, flags_at, fills; };

/* One piece of memory. Python sees it as it stands here (kobox/machine/watch_heap.py). */
struct object {
    uint64_t address, size, slot, cache, page, base, before, behind, freed_at;
    uint32_t made, gone, function, order, guarded; /* the first three: numbers of Python's */
    uint8_t kind, state, written, inner, as_it_is, shown, adopted; /* shown: Python may look at it when it is gone */
    struct object *newer, *older; /* in quarantine */
};
struct heap; /* heap.h */

#define CONTEXT_RULES 4 /* one of a function; of an instruction, also of sections that begin or end right before it */
struct rule {
    struct memory_rule memory;
    struct context_rule context[CONTEXT_RULES];
    struct print_rule prints;
    struct allocation_rule allocation;
};

/* A call that is to be looked at again when it returns to `site`, with `sp` for a stack pointer. */
enum awaited_kind { AWAIT_LOCK, AWAIT_ALLOCATION, AWAIT_BEHALF, AWAIT_PAUSE };
struct awaited {
    uint64_t site, sp, entry_sp, function;
    enum awaited_kind what;
    void (*returned)(struct machine *m, const struct awaited *call);
    uint32_t name;
    uint8_t fills;
    union {
        struct { struct context_rule rule; struct held lock; };
        struct { struct object object; uint64_t arguments[ARGUMENTS]; };
    };
};
#define MAX_AWAITED 64

enum { MAX_THUNKS = 64 };

struct watch {
    struct range ranges[MAX_RANGES], *last;
    size_t range_count;
    uint8_t *shadow;
    struct cached_page tlb[TLB_SIZE];
    struct bound *bounds;
    size_t bound_count;
    watch_callback report;
    uc_hook hook;
    uint64_t low, high;          /* what the hook covers */
    uint64_t tail_target, tail_pc; /* the jump out of a module that was executed last */
    struct { uint64_t address; int reg; } thunks[MAX_THUNKS]; /* kernel functions that jump to where a register points */
    int thunk_count;
    bool jumped_here;            /* the function that is being looked at was reached by that jump */
    uint64_t caller;             /* where the module's code called the function that was reached last */
    uint64_t repeat_pc, repeat_count;
    uint64_t compared_pc, compared_address, compared_size, compared_stack; /* unwritten memory that was just compared */
    uint64_t executed, stop_at;  /* instructions of the modules; where to stop */
    struct room rooms[ROOMS];    /* what Python has said of variables on the stack */
    struct pointer { uint64_t start, end; } pointers[REGISTERS]; /* the variables that registers point into */
    struct { uint64_t address, size; } loaded[REGISTERS]; /* the unwritten bytes that registers hold */
    reg_set unwritten, fresh;   /* which registers do; which do from this instruction on */
    bool called;                 /* the instruction before was a call */
    reg_set pointing, moved;    /* which registers do; which of them were moved by what only the program knows */
    struct { uint64_t at, value; struct pointer to; } stored[STORED]; /* such pointers in memory, by where they stand */
    struct recalled { uint64_t value, stack; struct pointer to; uint8_t dest; bool waits; } recalled[2]; /* by the load before */
    uint64_t storing, storing_stack; /* which of them there are; which point to a stack: a bit each */
    uint64_t pointing_stack;     /* of the task whose registers these are */
    struct kept { uint64_t address, size; } kept[MAX_KEPT]; /* freed, filled and kept, the oldest first */
    size_t kept_count;
    uint64_t stack_limit;        /* how deep a stack may be in a module's code; 0: as deep as it likes */
    struct context *context;     /* context.c; NULL: not asked for */
    struct held context_event, context_since; /* what Python is asked about */
    struct awaited awaited[MAX_AWAITED];
    size_t awaited_count;
    struct heap *heap;           /* heap.c; NULL: not asked for */
    bool declined;               /* the function that was reached is Python's to look at */
    bool arriving;               /* a function is being looked at; whether watched code has called it, once that is known */
    enum { NOT_ASKED, IS_NOT, IS } from_module;
    struct format formats[FORMATS]; /* prints.c: those that Python has read */
    struct list sites;           /* where they return to */
    struct race *race;           /* races.c */
    bool trusting;               /* a report was answered with: no more of this instruction */
};

#define STACK_OF(sp) ((sp) & ~0x3FFFull)
#define UNMAPPED (~0ull)
#define NOT_RAM (~1ull) /* a device's registers, perhaps */

/* ---- shadow.c -------------------------------------------------------------------------------------------------------- */
uint64_t physical_by_tables(struct machine *m, uint64_t va);
int ask_python(struct machine *m, int kind, uint64_t pc, uint64_t address, uint64_t size, int access, uint64_t detail);
int report_access(struct machine *m, int kind, uint64_t pc, uint64_t address, uint64_t size, int access, uint64_t detail);
bool look(struct machine *m, uint64_t pc, uint64_t address, uint64_t size, int access, bool to_user);
void mark_memory(struct machine *m, uint64_t address, uint64_t size, uint8_t mark, bool with_pattern);

/* Physical address of a kernel address, or one of the above. A cached one is good while its page table entry says what it said. */
static inline uint64_t physical(struct machine *m, uint64_t va)
{
    const struct cached_page *c = &m->watch->tlb[va >> 12 & (TLB_SIZE - 1)];
    uint64_t value;
    if (c->page == va >> 12 && c->entry) {
        memcpy(&value, c->entry, 8);
        if (value == c->value)
            return c->physical | (va & (PAGE - 1));
    }
    return physical_by_tables(m, va);
}

/*
 * Sizes come from the guest. More memory than there is RAM is some of it mapped again and again: it is looked at once. What is
 * much to look at costs blocks (clock.c): `bytes` of them that took one step for each `step` bytes.
 */
static inline uint64_t no_more_than_ram(const struct machine *m, uint64_t size) { return size < m->ram_size ? size : m->ram_size; }

static inline void spend_looking(struct machine *m, uint64_t bytes, uint64_t step)
{
    if (bytes > 1 << 16)
        spend(m, bytes / step);
}

/* Whether up to 8 bytes within a page are all of memory that nobody tracks: the usual case. */
static inline bool is_untracked(struct machine *m, uint64_t address, unsigned size)
{
    if (size - 1 > 7 || (address & (PAGE - 1)) > PAGE - 8 || !(address >> 63))
        return false;
    uint64_t pa = physical(m, address), word;
    if (pa >= NOT_RAM)
        return false;
    memcpy(&word, m->watch->shadow + pa, 8);
    return !(word << (64 - 8 * size));
}

static inline struct range *range_of(struct watch *w, uint64_t address)
{
    if (w->last && address >= w->last->start && address < w->last->end)
        return w->last;
    for (size_t i = 0; i < w->range_count; i++)
        if (address >= w->ranges[i].start && address < w->ranges[i].end && !w->ranges[i].retired)
            return w->last = &w->ranges[i];
    return NULL;
}

/* What an unwritten byte of RAM is filled with: by its place in a word, so that a copy of it is known too. */
#define PATTERN 0xA75BC993E56D8BF1ull
static inline uint8_t pattern(uint64_t pa) { return (uint8_t)(PATTERN >> 8 * (pa & 7)); }

static inline uint64_t distance(uint64_t a, uint64_t b) { return a < b ? b - a : a - b; }

/*
 * An address that is to be compared with where a variable starts: a per-CPU variable is known by where it is in the
 * kernel's image or module, and used where this CPU's part is (include/asm-generic/percpu.h, SHIFT_PERCPU_PTR).
 */
static inline uint64_t as_known(const struct machine *m, uint64_t start, uint64_t address)
{
    uint64_t known = address - per_cpu_base(m);
    return distance(known, start) < distance(address, start) ? known : address;
}

/* ---- variables.c --------------------------------------------------------------------------------------------------------- */
uint64_t stack_room(struct machine *m, uint64_t pc, uint64_t address, bool whole);
uint32_t bound_at(const struct watch *w, uint64_t site);
void follow(struct machine *m, const struct insn *i, uint64_t pc);
void step_pointer(struct machine *m, unsigned reg, int64_t step);
void follow_memory(struct machine *m, const struct insn *i, uint64_t pc);
void take_recalled(struct machine *m);
void forget_frame(struct watch *w, uint64_t start, uint64_t end);
bool stays_inside(struct machine *m, const struct insn *i, uint64_t pc, uint64_t address);

/* ---- values.c ---------------------------------------------------------------------------------------------------------------- */
void look_at_loaded(struct machine *m, const struct insn *i, uint64_t address);
void look_at_compared(struct machine *m, const struct insn *i, uint64_t pc, uint64_t address);
void look_at_registers(struct machine *m, const struct insn *i, uint64_t pc);
void look_at_decision(struct machine *m, const struct insn *i);
void follow_values(struct watch *w, const struct insn *i);
void look_at_shown(struct machine *m, uint64_t pc, unsigned reg, uint64_t size);

/* ---- races.c -------------------------------------------------------------------------------------------------------------- */
bool race_watches(const struct machine *m);
bool race_step(struct machine *m, uint64_t pc, bool drains);
bool race_access(struct machine *m, uint64_t pc, uint64_t address, uint64_t size, uint32_t access);
void race_hold_ends(struct machine *m);
void race_close(struct watch *w);

/* ---- instructions.c -------------------------------------------------------------------------------------------------------- */
void on_instruction(uc_engine *uc, uint64_t pc, uint32_t size, void *user);

/* ---- rules.c ------------------------------------------------------------------------------------------------------------------ */
void watch_arrives(struct machine *m, bool begins);
bool watch_called_from_module(struct machine *m);
bool watch_tracks(struct machine *m, int argument);
bool watch_declined(struct machine *m);
bool return_of(struct machine *m, uint64_t *site, uint64_t *sp);
struct rule *rule_at(struct machine *m, uint64_t address, bool entry);

/* ---- calls.c, arrivals.c ------------------------------------------------------------------------------------------------------ */
bool apply_memory_rule(struct machine *m, const struct memory_rule *rule);
void watch_reached(struct machine *m, struct rule *rule);

/* ---- context.c ---------------------------------------------------------------------------------------------------------------- */
void context_reached(struct machine *m, const struct context_rule *rule, bool from_module);
void context_forget(struct watch *w);

/* ---- prints.c ------------------------------------------------------------------------------------------------------------------- */
bool watch_fits(struct machine *m, const struct rule *rule);

/* ---- heap.c, heap_calls.c ------------------------------------------------------------------------------------------------------- */
void heap_forget(struct watch *w);
bool watch_inside(struct machine *m);
void allocation_reached(struct machine *m, const struct allocation_rule *rule, bool from_module);

/* ---- returns.c ------------------------------------------------------------------------------------------------------------------ */
void await_return(struct machine *m, const struct awaited *call);
void watch_returned(struct machine *m, uint64_t site);
void forget_returns(struct machine *m);

#endif
