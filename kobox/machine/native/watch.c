/*
 * The watcher of memory: every instruction of the modules that are watched is looked at before it is executed, and so are
 * the calls that they make into the kernel. What it knows about memory stands in the shadow, one byte for each byte of RAM:
 *
 *     0      unknown: memory of the kernel's own, anything goes
 *     1      belongs to a tracked object, and was written
 *     2      belongs to a tracked object, and holds what it held when it was allocated
 *     0x80+  must not be touched: the room round objects, freed objects, gaps between variables
 *
 *     module's instruction --UC_HOOK_CODE--> on_instruction: decode once, effective address, shadow --> report
 *     kernel's function    --block hook----> watch_reached: the rule of that function, its arguments, shadow --> report
 *
 * A report goes to Python, which knows the objects. Nothing is watched where no range is set, and nothing here changes
 * what the guest does, but that fresh stack frames and objects are filled with a pattern by which unwritten bytes are known
 * later, and freed objects with another, by which it is known whether anybody has written there.
 */
#define _GNU_SOURCE
#include "core.h"
#include "decode.h"

#define MAX_RANGES 256
#define TLB_SIZE 1024
#define SURE_RUN 4

enum shadow { UNKNOWN = 0, WRITTEN_TO = 1, UNWRITTEN = 2, FORBIDDEN = 0x80 };
enum report { REPORT_SHADOW, REPORT_UNMAPPED, REPORT_USER, REPORT_UNINITIALISED, REPORT_BOUND, REPORT_STACK, REPORT_LOCAL, ASK_LOCAL };

/* `kind`, where the code is, the address, how many bytes from there, INSN_READ or _WRITE, the shadow's byte or bound's number. */
typedef int (*watch_callback)(int kind, uint64_t pc, uint64_t address, uint64_t size, int access, uint64_t detail);

struct range { uint64_t start, end; struct insn *insns; bool over; }; /* over: freed, and perhaps another module's now */
struct cached { uint64_t page, value; const uint8_t *entry; uint64_t physical; };
struct bound { uint64_t start, end, site; };
struct room { uint64_t pc, offset, limit; };
#define ROOMS 1024
#define KEPT 1024
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
struct rule { uint64_t address; struct rule_part parts[3]; uint8_t copies; };

struct watch {
    struct range ranges[MAX_RANGES], *last;
    size_t range_count;
    uint8_t *shadow;
    struct cached tlb[TLB_SIZE];
    struct bound *bounds;
    size_t bound_count;
    watch_callback report;
    uc_hook hook;
    uint64_t low, high;          /* what the hook covers */
    uint64_t tail_target, tail_pc; /* the jump out of a module that was executed last */
    bool jumped_here;            /* the function that is being looked at was reached by that jump */
    uint64_t caller;             /* where the module's code called the function that was reached last */
    uint64_t repeat_pc, repeat_count;
    uint64_t executed, stop_at;  /* instructions of the modules; where to stop */
    uint64_t inside;             /* stack of the task that is in a function which allocates for a module */
    struct room rooms[ROOMS];    /* what Python has said of variables on the stack */
    struct pointer { uint64_t start, end; } pointers[16]; /* the variables that registers point into */
    struct { uint64_t address, size; } loaded[16]; /* the bytes that registers hold, which nobody has written */
    uint16_t unwritten, fresh;   /* which registers do; which do from this instruction on */
    bool called;                 /* the instruction before was a call */
    uint16_t pointing, moved;    /* which registers do; which of them were moved by what only the program knows */
    struct { uint64_t at, value; struct pointer to; } stored[STORED]; /* such pointers in memory, by where they stand */
    uint64_t storing, storing_stack; /* which of them there are; which point to a stack: a bit each */
    uint64_t pointing_stack;     /* of the task whose registers these are */
    struct kept { uint64_t address, size; } kept[KEPT]; /* freed, filled and kept, the oldest first */
    size_t kept_count;
    uint64_t stack_limit;        /* how deep a stack may be in a module's code; 0: as deep as it likes */
    bool trusting;               /* a report was answered with: no more of this instruction */
};

/* ---- addresses ---------------------------------------------------------------------------------------------------- */
#define STACK_OF(rsp) ((rsp) & ~0x3FFFull)

#define UNMAPPED (~0ull)
#define NOT_RAM (~1ull) /* a device's registers, perhaps */

/* Physical address of a kernel address, or one of the above. A cached one is good while its page table entry says what it said. */
static uint64_t physical(struct machine *m, uint64_t va)
{
    struct cached *c = &m->watch->tlb[va >> 12 & (TLB_SIZE - 1)];
    uint64_t value;
    if (c->page == va >> 12 && c->entry) {
        memcpy(&value, c->entry, 8);
        if (value == c->value)
            return c->physical | (va & (PAGE - 1));
    }
    int shift;
    bool writable;
    const uint8_t *entry = page_entry(m, live_cr3(m), va, &shift, &writable);
    if (!entry)
        return UNMAPPED;
    memcpy(&value, entry, 8);
    uint64_t mask = (1ull << shift) - 1, at = (value & PTE_ADDRESS & ~mask) | (va & mask);
    if (at >= m->ram_size)
        return NOT_RAM;
    *c = (struct cached){.page = va >> 12, .value = value, .entry = entry, .physical = at & ~(PAGE - 1)};
    return at;
}

static struct range *range_of(struct watch *w, uint64_t address)
{
    if (w->last && address >= w->last->start && address < w->last->end)
        return w->last;
    for (size_t i = 0; i < w->range_count; i++)
        if (address >= w->ranges[i].start && address < w->ranges[i].end && !w->ranges[i].over)
            return w->last = &w->ranges[i];
    return NULL;
}

/* What an unwritten byte of RAM is filled with: by its place in a word, so that a copy of it is known too. */
static uint8_t pattern(uint64_t pa) { return (uint8_t)(0xA75BC993E56D8BF1ull >> 8 * (pa & 7)); }

#define FREED_BYTE 0x6b /* POISON_FREE, include/linux/poison.h: as a pointer it leads nowhere */

/* ---- looking --------------------------------------------------------------------------------------------------------- */
static int tell_watcher(struct machine *m, int kind, uint64_t pc, uint64_t address, uint64_t size, int access, uint64_t detail)
{
    if (!m->watch->report || m->in_callback)
        return 0;
    m->in_callback = true;
    int answer = m->watch->report(kind, pc, address, size, access, detail);
    m->in_callback = false;
    m->watch->trusting = answer == 1;
    return answer;
}

/* Whether nothing is to be said or marked about 64 bytes. */
static inline bool says_nothing(const uint8_t *shadow, int access, bool to_user)
{
    uint64_t marks[8], all = 0;
    memcpy(marks, shadow, 64);
    for (int i = 0; i < 8; i++)
        all |= marks[i];
    return !(all & 0x0101010101010101ull * (FORBIDDEN | (access & INSN_WRITE || to_user ? UNWRITTEN : 0)));
}

/* Eight bytes at once, when there is nothing to say about them; what is written is marked so. */
static inline bool pass_over(uint8_t *shadow, int access, bool to_user)
{
    const uint64_t ones = 0x0101010101010101ull;
    uint64_t marks;
    memcpy(&marks, shadow, 8);
    if (marks & ones * FORBIDDEN || (to_user && marks & ones * UNWRITTEN))
        return false;
    if (access & INSN_WRITE && marks & ones * UNWRITTEN) {
        marks = (marks | marks >> 1) & ones;
        memcpy(shadow, &marks, 8);
    }
    return true;
}

/*
 * How many bytes there are from an address on the stack to the end of the variable that it points into, as the code at `pc`
 * sees it; 0: not known. With `whole`, only if it points to its start. Python knows it by DWARF, and is asked once for each
 * place.
 */
static uint64_t stack_room(struct machine *m, uint64_t pc, uint64_t address, bool whole)
{
    uint64_t rsp = live_reg(m, R_RSP), offset = address - rsp;
    if (offset >= 0x4000)
        return 0;
    struct room *r = &m->watch->rooms[(pc ^ offset >> 3) % ROOMS];
    if (r->pc != pc || r->offset != offset) {
        int limit = tell_watcher(m, ASK_LOCAL, pc, address, whole, 0, 0);
        m->watch->trusting = false;
        *r = (struct room){pc, offset, limit > 0 ? (uint64_t)limit : 0};
    }
    return r->limit;
}

/*
 * Bytes from `start` to `end` behind `pa` that nobody watched has written, and that still hold the pattern: all of them, or
 * SURE_RUN in a row, since the kernel may have written any of them, and a byte of its data is the pattern's by chance.
 */
static bool find_pattern(const struct machine *m, uint64_t pa, uint64_t start, uint64_t end, uint64_t *from, uint64_t *run)
{
    *run = 0;
    for (uint64_t i = start; i < end; i++) {
        if (m->ram[pa + i] != pattern(pa + i)) {
            if (*run >= SURE_RUN)
                return true;
            *run = 0;
        } else if (!(*run)++) {
            *from = i;
        }
    }
    return *run >= SURE_RUN || *run == end - start;
}

/* Look at `size` bytes that are about to be read or written. False: something was reported. */
static bool look(struct machine *m, uint64_t pc, uint64_t address, uint64_t size, int access, bool to_user)
{
    struct watch *w = m->watch;
    if (!(address >> 63)) {
        tell_watcher(m, REPORT_USER, pc, address, size, access, 0);
        return false;
    }
    while (size) {
        uint64_t piece = PAGE - (address & (PAGE - 1)), pa = physical(m, address);
        piece = piece < size ? piece : size;
        if (pa == UNMAPPED) {
            tell_watcher(m, REPORT_UNMAPPED, pc, address, size, access, 0);
            return false;
        }
        if (pa == NOT_RAM)
            return true;
        uint8_t *s = w->shadow + pa;
        for (uint64_t i = 0; i < piece; i++) {
            while (i + 64 <= piece && says_nothing(s + i, access, to_user))
                i += 64;
            while (i + 8 <= piece && pass_over(s + i, access, to_user))
                i += 8;
            if (i == piece)
                break;
            if (!s[i])
                continue;
            if (s[i] & FORBIDDEN) {
                tell_watcher(m, REPORT_SHADOW, pc, address + i, size - i, access, s[i]);
                return false;
            }
            if (access & INSN_WRITE)
                s[i] = WRITTEN_TO;
            else if (to_user && s[i] == UNWRITTEN) {
                uint64_t end = i, from = 0, run;
                while (end < piece && s[end] == UNWRITTEN)
                    end++;
                if (find_pattern(m, pa, i, end, &from, &run)) {
                    tell_watcher(m, REPORT_UNINITIALISED, pc, address + from, run, access, 0);
                    return false;
                }
                i = end - 1;
            }
        }
        address += piece, size -= piece;
    }
    return true;
}

/* The same for the usual case: up to 8 bytes within a page, all of memory that nobody tracks. */
static inline bool plain(struct machine *m, uint64_t address, unsigned size)
{
    if (size > 8 || (address & (PAGE - 1)) > PAGE - 8 || !(address >> 63))
        return false;
    uint64_t pa = physical(m, address), word;
    if (pa >= NOT_RAM)
        return false;
    memcpy(&word, m->watch->shadow + pa, 8);
    return !(word << (64 - 8 * size));
}

static void fill(struct machine *m, uint64_t address, uint64_t size, uint8_t mark, bool with_pattern)
{
    struct watch *w = m->watch;
    while (size) {
        uint64_t piece = PAGE - (address & (PAGE - 1)), pa = physical(m, address);
        piece = piece < size ? piece : size;
        if (pa < NOT_RAM) {
            memset(w->shadow + pa, mark, piece);
            for (uint64_t i = 0; with_pattern && i < piece; i++)
                m->ram[pa + i] = pattern(pa + i);
        }
        address += piece, size -= piece;
    }
}

static inline uint64_t per_cpu_base(const struct machine *m)
{
    return ((const struct segment *)(m->cpu + AT_SEGS))[5].base;
}

static inline uint64_t operand(const struct machine *m, const struct insn *i, uint64_t pc)
{
    uint64_t address = (uint64_t)(int64_t)i->disp;
    if (i->flags & INSN_RIP)
        address += pc + i->length;
    if (i->base != NO_REG)
        address += live_reg(m, i->base);
    if (i->index != NO_REG)
        address += live_reg(m, i->index) * i->scale;
    if (i->flags & INSN_GS)
        address += per_cpu_base(m);
    return address;
}

/*
 * An address that is to be compared with a variable's start: a per-CPU variable is known by its offset in each CPU's part (no
 * address of the kernel's), and used where this CPU's part is (include/asm-generic/percpu.h, SHIFT_PERCPU_PTR).
 */
static inline uint64_t as_known(const struct machine *m, uint64_t start, uint64_t address)
{
    return start >> 63 || !(address >> 63) ? address : address - per_cpu_base(m);
}

static void look_at_string(struct machine *m, struct insn *i, uint64_t pc)
{
    struct watch *w = m->watch;
    uint64_t count = i->flags & INSN_REP ? live_reg(m, R_RCX) : 1;
    bool going_on = i->flags & INSN_REP && w->repeat_pc == pc && count < w->repeat_count;
    w->repeat_pc = pc;
    w->repeat_count = count;
    if (going_on || !count || i->extra == 0xA6 || i->extra == 0xAE) /* comparisons end when they want */
        return;
    uint64_t to = live_reg(m, R_RDI), from = live_reg(m, R_RSI), size = count * i->size;
    bool reads = i->extra == 0xA4 || i->extra == 0xAC || i->extra == 0x6E;
    bool writes = i->extra == 0xA4 || i->extra == 0xAA || i->extra == 0x6C;
    bool good = true;
    if (reads && (from >> 63 || !(i->flags & INSN_TRUSTED)))
        good = look(m, pc, from, size, INSN_READ, writes && !(to >> 63));
    if (writes && good && (to >> 63 || !(i->flags & INSN_TRUSTED)))
        look(m, pc, to, size, INSN_WRITE, false);
    if (w->trusting) {
        i->flags |= INSN_TRUSTED;
        w->trusting = false;
    }
}

static bool stays_inside(struct machine *m, const struct insn *i, uint64_t pc, uint64_t address);

/*
 * A register gets what memory holds. If nobody has written that, it may yet be shown to user space (put_user()). A byte of the
 * kernel's is the pattern's by chance: there must be SURE_RUN of them round it.
 */
static void look_at_value(struct machine *m, const struct insn *i, uint64_t address)
{
    struct watch *w = m->watch;
    uint64_t pa = physical(m, address), page = pa & ~(PAGE - 1), start = pa, end = pa + i->size;
    if (pa >= NOT_RAM || end > page + PAGE || w->shadow[pa] != UNWRITTEN)
        return;
    for (uint64_t at = start; at < end; at++)
        if (w->shadow[at] != UNWRITTEN || m->ram[at] != pattern(at))
            return;
    while (start > page && end - start < SURE_RUN && w->shadow[start - 1] == UNWRITTEN && m->ram[start - 1] == pattern(start - 1))
        start--;
    while (end < page + PAGE && end - start < SURE_RUN && w->shadow[end] == UNWRITTEN && m->ram[end] == pattern(end))
        end++;
    if (end - start < SURE_RUN)
        return;
    w->fresh = (uint16_t)(1u << i->dest);
    w->loaded[i->dest].address = address;
    w->loaded[i->dest].size = i->size;
    w->pointing_stack = STACK_OF(live_reg(m, R_RSP));
}

/* Which registers hold unwritten bytes after an instruction. What was calculated with one is not followed. */
static void follow_values(struct watch *w, const struct insn *i)
{
    uint16_t made = w->fresh, gone = i->kills;
    if (gone == CALLER_SAVED) { /* not before it has returned: it may be what shows %rax */
        w->called = true;
        return;
    }
    if (i->value == VALUE_COPIED && w->unwritten >> i->source & 1) {
        made = (uint16_t)(1u << i->dest);
        w->loaded[i->dest] = w->loaded[i->source];
    }
    if (i->pointer == POINTER_STEP || i->pointer == POINTER_MOVE)
        gone |= (uint16_t)(1u << i->dest);
    w->unwritten = (uint16_t)((w->unwritten & ~gone) | made);
    w->fresh = 0;
}

static void look_at_operand(struct machine *m, struct insn *i, uint64_t pc)
{
    struct watch *w = m->watch;
    uint64_t address = operand(m, i, pc);
    if (i->op == OP_BIT) {
        int64_t bit = (int64_t)live_reg(m, i->extra);
        bit = i->size == 8 ? bit : i->size == 4 ? (int32_t)bit : (int16_t)bit;
        address += (uint64_t)((bit >> (i->size == 8 ? 6 : i->size == 4 ? 5 : 4)) * i->size);
    }
    if (i->bound & RELATIVE) {
        uint64_t start = live_reg(m, i->base) + (uint64_t)(int64_t)i->disp, limit = i->bound & ~RELATIVE;
        if (address - start + i->size > limit || address < start) {
            tell_watcher(m, REPORT_LOCAL, pc, address, i->size, i->flags & 3, start);
            goto done;
        }
    } else if (i->bound) {
        const struct bound *b = &w->bounds[i->bound - 1];
        uint64_t at = as_known(m, b->start, address);
        if (at < b->start || at + i->size > b->end) {
            tell_watcher(m, REPORT_BOUND, pc, at, i->size, i->flags & 3, i->bound - 1);
            goto done;
        }
    }
    if (i->base < NO_REG && w->pointing >> i->base & 1 && !stays_inside(m, i, pc, address))
        goto done;
    if (plain(m, address, i->size))
        return;
    if (look(m, pc, address, i->size, i->flags & (INSN_READ | INSN_WRITE), false) && i->value == VALUE_LOADED)
        look_at_value(m, i, address);
done:
    if (w->trusting) {
        i->op = OP_PLAIN;
        w->trusting = false;
    }
}

/* The object that the field at `site` was relocated to, when one was set for it: 1 + its number. */
static uint32_t bound_at(const struct watch *w, uint64_t site)
{
    size_t low = 0, high = w->bound_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (w->bounds[middle].site < site)
            low = middle + 1;
        else
            high = middle;
    }
    return low < w->bound_count && w->bounds[low].site == site ? (uint32_t)low + 1 : 0;
}

/*
 * A register was made to point to the start of a variable: as long as only additions change it, what it leads to must lie in
 * that variable. Steps of a constant may be the compiler's way to another variable: after one that leaves it, or is
 * as large as all of it, nothing is known.
 */
static void follow(struct machine *m, const struct insn *i, uint64_t pc)
{
    struct watch *w = m->watch;
    struct pointer made = {0, 0};
    uint16_t dest = (uint16_t)(1u << i->dest), source = i->source < NO_REG ? (uint16_t)(1u << i->source) : 0;
    bool moved = false;
    switch (i->pointer) {
    case POINTER_COPY:
        if (w->pointing & source)
            made = w->pointers[i->source], moved = w->moved & source;
        else if (i->source == R_RSP && i->dest != R_RBP) { /* the variable that lies at the end of the stack */
            uint64_t at = live_reg(m, R_RSP), room = stack_room(m, pc, at, true);
            made = room > 8 ? (struct pointer){at, at + room} : made;
        }
        break;
    case POINTER_STEP:
        if (w->pointing & dest) {
            const struct pointer *p = &w->pointers[i->dest];
            uint64_t next = as_known(m, p->start, live_reg(m, i->dest) + (uint64_t)(int64_t)i->disp), size = p->end - p->start;
            bool known = w->moved & dest || (next >= p->start && next <= p->end);
            if (!known || (uint64_t)(i->disp < 0 ? -(int64_t)i->disp : i->disp) >= size)
                w->pointing &= ~dest;
        }
        return;
    case POINTER_MOVE:
        if (w->pointing & dest && !(w->pointing & source))
            w->moved |= dest;
        else if (w->pointing & source && !(w->pointing & dest)) {
            w->pointers[i->dest] = w->pointers[i->source];
            w->pointing |= dest, w->moved |= dest;
        } else
            w->pointing &= ~dest;
        return;
    case POINTER_CONSTANT: {
        uint32_t bound = bound_at(w, pc + i->extra);
        if (bound)
            made = (struct pointer){w->bounds[bound - 1].start, w->bounds[bound - 1].end};
        break;
    }
    case POINTER_MADE: {
        uint32_t bound = i->extra ? bound_at(w, pc + i->extra) : 0;
        uint64_t base = i->base < NO_REG ? live_reg(m, i->base) : 0, at = base + (uint64_t)(int64_t)i->disp;
        if (bound)
            made = (struct pointer){w->bounds[bound - 1].start, w->bounds[bound - 1].end};
        else if (i->base == R_RSP || (i->base == R_RBP && !(w->pointing >> R_RBP & 1))) {
            uint64_t room = stack_room(m, pc, at, true);
            if (room > 8)
                made = (struct pointer){at, at + room};
        } else if (i->base < NO_REG && w->pointing >> i->base & 1) {
            const struct pointer *p = &w->pointers[i->base];
            at = as_known(m, p->start, at);
            if (at >= p->start && at < p->end)
                made = *p, moved = w->moved >> i->base & 1;
        }
        moved |= made.end && i->index != NO_REG;
        break;
    }
    default:
        break;
    }
    w->pointing &= ~i->kills;
    w->moved &= ~i->kills;
    if (made.end) {
        w->pointers[i->dest] = made;
        w->pointing |= dest;
        w->pointing_stack = STACK_OF(live_reg(m, R_RSP));
        w->moved = moved ? w->moved | dest : w->moved & ~dest;
    }
}

static size_t place_of(uint64_t at) { return (at >> 3 ^ at >> 9 ^ at >> 15) % STORED; }

/* A pointer to a variable is stored in memory, or something else is where one was. */
static void remember(struct machine *m, const struct insn *i, uint64_t pc)
{
    struct watch *w = m->watch;
    uint64_t at = operand(m, i, pc), value = 0, bit = 1ull << place_of(at);
    struct pointer constant = {0, 0}, *p = &constant;
    if (i->source < NO_REG && w->pointing >> i->source & 1) {
        p = &w->pointers[i->source];
        value = live_reg(m, i->source);
    } else if (i->target) {
        int32_t number = 0;
        copy_virtual(m, live_cr3(m), pc + i->length - 4, &number, 4, false);
        value = (uint64_t)(int64_t)number;
        constant = (struct pointer){w->bounds[i->target - 1].start, w->bounds[i->target - 1].end};
    }
    if (value && value >= p->start && value < p->end) {
        w->stored[place_of(at)].at = at;
        w->stored[place_of(at)].value = value;
        w->stored[place_of(at)].to = *p;
        w->storing |= bit;
        w->storing_stack &= ~bit;
        w->storing_stack |= STACK_OF(p->start) == STACK_OF(live_reg(m, R_RSP)) ? bit : 0;
    } else if (w->storing & bit && w->stored[place_of(at)].at == at) {
        w->storing &= ~bit, w->storing_stack &= ~bit;
    }
}

/* One is loaded again, if memory still holds it: whoever else may have written there, the kernel does so unseen. */
static void recall(struct machine *m, const struct insn *i, uint64_t pc)
{
    struct watch *w = m->watch;
    uint64_t at = operand(m, i, pc), value, pa;
    size_t n = place_of(at);
    if (!(w->storing >> n & 1) || w->stored[n].at != at || (at & (PAGE - 1)) > PAGE - 8 || (pa = physical(m, at)) >= NOT_RAM)
        return;
    memcpy(&value, m->ram + pa, 8);
    if (value != w->stored[n].value)
        return;
    w->pointers[i->dest] = w->stored[n].to;
    w->pointing |= (uint16_t)(1u << i->dest);
    w->moved = (uint16_t)(value == w->stored[n].to.start ? w->moved & ~(1u << i->dest) : w->moved | 1u << i->dest);
    w->pointing_stack = STACK_OF(live_reg(m, R_RSP));
}

/* A frame is made, or is left: what pointed into it points to nothing that has a name any more. */
static void forget_frame(struct watch *w, uint64_t start, uint64_t end)
{
    for (uint64_t left = w->storing_stack; left; left &= left - 1) {
        const struct pointer *p = &w->stored[__builtin_ctzll(left)].to;
        if (p->start < end && start < p->end)
            w->storing &= ~(left & -left), w->storing_stack &= ~(left & -left);
    }
}

/* Whether an operand stays in the variable that its base points into. */
static bool stays_inside(struct machine *m, const struct insn *i, uint64_t pc, uint64_t address)
{
    struct watch *w = m->watch;
    const struct pointer *p = &w->pointers[i->base];
    uint64_t base = as_known(m, p->start, live_reg(m, i->base));
    address = as_known(m, p->start, address);
    if (address >= p->start && address + i->size <= p->end)
        return true;
    bool variable = w->moved >> i->base & 1 || i->index != NO_REG;
    if (!variable && (base != p->end || i->disp)) { /* the way to another variable, perhaps */
        w->pointing &= ~(1u << i->base);
        return true;
    }
    tell_watcher(m, REPORT_LOCAL, pc, address, i->size, i->flags & 3, p->start);
    w->pointing &= ~(1u << i->base);
    return false;
}

/* A stack that is deeper than allowed is told of, and again when it is half a KiB deeper. */
static void look_at_stack(struct machine *m, uint64_t pc, uint64_t rsp)
{
    uint64_t depth = STACK_OF(rsp) + 0x4000 - rsp;
    if (!m->watch->stack_limit || depth <= m->watch->stack_limit)
        return;
    m->watch->stack_limit = depth + 512;
    tell_watcher(m, REPORT_STACK, pc, rsp, depth, 0, 0);
}

static void on_instruction(uc_engine *uc, uint64_t pc, uint32_t size, void *user)
{
    struct machine *m = user;
    struct watch *w = m->watch;
    struct range *r = range_of(w, pc);
    if (!r)
        return;
    struct insn *i = &r->insns[pc - r->start];
    w->executed++;
    if (!(i->flags & INSN_SEEN)) {
        uint8_t code[16] = {0};
        if (size > 15 || !copy_virtual(m, live_cr3(m), pc, code, size, false))
            return;
        *i = decode(code, (uint8_t)size);
        i->flags |= INSN_SEEN;
        if (i->op == OP_MEMORY && i->extra && (i->base != NO_REG || i->index != NO_REG))
            i->bound = bound_at(w, pc + i->extra);
        if (i->value == VALUE_STORED && i->source == NO_REG)
            i->target = bound_at(w, pc + i->length - 4);
        if (i->op == OP_MEMORY && (i->base == R_RSP || i->base == R_RBP) && i->index != NO_REG) {
            uint64_t room = stack_room(m, pc, live_reg(m, i->base) + (uint64_t)(int64_t)i->disp, true);
            i->bound = room > 8 ? RELATIVE | (uint32_t)room : i->bound;
        }
    }
    if (w->pointing | w->unwritten) {
        if (STACK_OF(live_reg(m, R_RSP)) != w->pointing_stack)
            w->pointing = w->unwritten = 0;
        if (w->called)
            w->unwritten &= (uint16_t)~CALLER_SAVED;
        w->called = false;
    }
    switch (i->op) {
    case OP_MEMORY:
    case OP_BIT:
        look_at_operand(m, i, pc);
        break;
    case OP_STRING:
        look_at_string(m, i, pc);
        break;
    case OP_ENTER:
        if (i->disp > 0 && i->disp < 8192)
            fill(m, live_reg(m, R_RSP) - (uint64_t)i->disp, (uint64_t)i->disp, UNWRITTEN, true);
        if (w->storing_stack)
            forget_frame(w, live_reg(m, R_RSP) - 0x4000, live_reg(m, R_RSP));
        look_at_stack(m, pc, live_reg(m, R_RSP) - (uint64_t)(int64_t)i->disp);
        break;
    case OP_LEAVE:
        if (i->disp > 0 && i->disp < 8192)
            fill(m, live_reg(m, R_RSP), (uint64_t)i->disp, UNKNOWN, false);
        if (w->storing_stack)
            forget_frame(w, live_reg(m, R_RSP), live_reg(m, R_RSP) + (uint64_t)(int64_t)i->disp);
        break;
    case OP_JUMP:
        w->tail_target = pc + i->length + (uint64_t)(int64_t)i->disp;
        w->tail_pc = pc;
        break;
    default:
        break;
    }
    if (w->unwritten | w->fresh)
        follow_values(w, i);
    if (i->pointer)
        follow(m, i, pc);
    else if (i->kills)
        w->pointing &= ~i->kills;
    if (i->value >= VALUE_LOADED && (w->storing || w->pointing || i->target)) {
        if (i->value == VALUE_STORED)
            remember(m, i, pc);
        else if (i->size == 8)
            recall(m, i, pc);
    }
    if (w->executed == w->stop_at) {
        m->event = EV_STOPPED;
        m->uc_.emu_stop(uc);
    }
}

/* ---- calls into the kernel --------------------------------------------------------------------------------------------- */
/* A function with a probe is reached, or has been looked at: what is asked in between is asked of one and the same call. */
void watch_arrives(struct machine *m)
{
    if (m->watch)
        m->watch->jumped_here = false;
}

/* At a function's entry: whether the code that called it, or jumped to it as its last act, is watched. */
bool watch_called_from_module(const struct machine *machine)
{
    struct machine *m = (struct machine *)machine;
    struct watch *w = m->watch;
    uint64_t rsp = live_reg(m, R_RSP), pa;
    if (!w || !w->range_count)
        return false;
    if (w->jumped_here)
        return true;
    if (w->tail_target && w->tail_target == live64(m, AT_EIP)) {
        w->caller = w->tail_pc;
        w->tail_target = 0;
        return w->jumped_here = true;
    }
    pa = physical(m, rsp);
    if (pa >= NOT_RAM || pa + 8 > m->ram_size)
        return false;
    memcpy(&w->caller, m->ram + pa, 8);
    return range_of(w, w->caller - 1);
}

bool watch_inside(const struct machine *m)
{
    return m->watch && m->watch->inside && m->watch->inside == STACK_OF(live_reg(m, R_RSP));
}

/* Whether an argument points to the first byte of what is tracked. */
bool watch_tracks(const struct machine *machine, int argument)
{
    static const int order[2] = {R_RDI, R_RSI};
    struct machine *m = (struct machine *)machine;
    uint64_t address = live_reg(m, order[argument]);
    if (!m->watch || !(address >> 63))
        return false;
    uint64_t pa = physical(m, address);
    return pa < NOT_RAM && m->watch->shadow[pa];
}

static uint64_t string_length(struct machine *m, uint64_t address, uint64_t limit)
{
    uint64_t n = 0;
    if (!(address >> 63))
        return limit ? 1 : 0;
    for (; n < limit; n++) {
        uint64_t pa = physical(m, address + n);
        if (pa >= NOT_RAM)
            return n;
        if (m->watch->shadow[pa] & FORBIDDEN || !m->ram[pa])
            return n + 1;
    }
    return n;
}

/* How far a search for `wanted` goes. */
static uint64_t found_length(struct machine *m, uint64_t address, uint8_t wanted, uint64_t limit, bool to_nul)
{
    for (uint64_t n = 0; n < limit; n++) {
        uint64_t pa = physical(m, address + n);
        if (!(address >> 63) || pa >= NOT_RAM || m->watch->shadow[pa] & FORBIDDEN || m->ram[pa] == wanted ||
            (to_nul && !m->ram[pa]))
            return n + 1;
    }
    return limit;
}

/* How far a comparison of two strings goes. */
static uint64_t compared_length(struct machine *m, uint64_t a, uint64_t b, uint64_t limit)
{
    for (uint64_t n = 0; n < limit; n++) {
        uint64_t one = physical(m, a + n), other = physical(m, b + n);
        if (!(a >> 63) || !(b >> 63) || one >= NOT_RAM || other >= NOT_RAM || m->watch->shadow[one] & FORBIDDEN ||
            m->watch->shadow[other] & FORBIDDEN || m->ram[one] != m->ram[other] || !m->ram[one])
            return n + 1;
    }
    return limit;
}

static uint64_t length_of(struct machine *m, const struct rule_part *p, uint64_t pointer)
{
    static const int order[6] = {R_RDI, R_RSI, R_RDX, R_RCX, R_R8, R_R9};
    const uint64_t no_limit = 1 << 20;
    uint64_t value = p->length < LENGTH_CONSTANT || p->length >= LENGTH_BOUNDED_STRING ? live_reg(m, order[p->length & 7]) : 0;
    uint64_t second = live_reg(m, R_RSI);
    switch (p->length & ~7) {
    case 0: return value * (p->constant ? p->constant : 1);
    case LENGTH_BOUNDED_STRING: return string_length(m, pointer, value);
    case LENGTH_FOUND: return found_length(m, pointer, (uint8_t)second, value, false);
    case LENGTH_COMPARED: return compared_length(m, live_reg(m, R_RDI), second, value);
    }
    switch (p->length) {
    case LENGTH_STRING: return string_length(m, pointer, no_limit);
    case LENGTH_FOUND_IN_STRING: return found_length(m, pointer, (uint8_t)second, no_limit, true);
    case LENGTH_COMPARED_STRINGS: return compared_length(m, live_reg(m, R_RDI), second, no_limit);
    default: return p->constant;
    }
}

/* A copy takes what is known about its source along. */
static void copy_marks(struct machine *m, uint64_t to, uint64_t from, uint64_t size)
{
    while (size) {
        uint64_t piece = PAGE - (to & (PAGE - 1)), rest = PAGE - (from & (PAGE - 1));
        piece = rest < piece ? rest : piece;
        piece = size < piece ? size : piece;
        uint64_t target = physical(m, to), source = physical(m, from);
        if (target >= NOT_RAM || source >= NOT_RAM)
            return;
        uint8_t *known = m->watch->shadow + target, *says = m->watch->shadow + source;
        if (memchr(says, UNWRITTEN, piece))
            for (uint64_t i = 0; i < piece; i++)
                if (says[i] == UNWRITTEN && known[i] == WRITTEN_TO)
                    known[i] = UNWRITTEN;
        to += piece, from += piece, size -= piece;
    }
}

/* %rax goes to user space: whether it holds what nobody has written. */
static void look_at_shown(struct machine *m, uint64_t pc, uint64_t size)
{
    struct watch *w = m->watch;
    if (!(w->unwritten & 1u << R_RAX) || STACK_OF(live_reg(m, R_RSP)) != w->pointing_stack)
        return;
    size = size < w->loaded[R_RAX].size ? size : w->loaded[R_RAX].size;
    tell_watcher(m, REPORT_UNINITIALISED, pc, w->loaded[R_RAX].address, size, INSN_READ, 0);
    w->trusting = false;
}

void watch_reached(struct machine *m, struct rule *rule)
{
    static const int order[6] = {R_RDI, R_RSI, R_RDX, R_RCX, R_R8, R_R9};
    if (!watch_called_from_module(m))
        return;
    uint64_t pc = m->watch->caller, lengths[3] = {0};
    for (int n = 0; n < 3 && rule->parts[n].access; n++) {
        const struct rule_part *p = &rule->parts[n];
        if (p->access == RULE_VALUE) { /* of which so many bytes go to user space */
            look_at_shown(m, pc, p->constant);
            return;
        }
        uint64_t pointer = live_reg(m, order[p->pointer]), length = length_of(m, p, pointer);
        if (p->limit != 255) { /* as long as another part, but for its own end */
            length = lengths[p->limit];
        }
        lengths[n] = length;
        if (length >> 63) /* a negative one: it leaves whatever it begins in */
            length = 1ull << 32;
        uint8_t does = p->access & ~RULE_MAY_BE_USER;
        if (length > 1ull << 32 || !length || (!(pointer >> 63) && (does != p->access || does == RULE_OBJECT)))
            continue;
        if (does == RULE_OBJECT) { /* whatever it does with it, it must not be gone */
            uint64_t pa = physical(m, pointer);
            if (pa < NOT_RAM && m->watch->shadow[pa] & FORBIDDEN) {
                tell_watcher(m, REPORT_SHADOW, pc, pointer, 1, INSN_READ, m->watch->shadow[pa]);
                return;
            }
            continue;
        }
        int access = does == RULE_WRITE ? INSN_WRITE : INSN_READ;
        uint64_t room = length > 8 ? stack_room(m, pc, pointer, false) : 0;
        if (room && length > room) {
            tell_watcher(m, REPORT_LOCAL, pc, pointer + room, length - room, access, pointer);
            return;
        }
        if (!look(m, pc, pointer, length, access, does == RULE_TO_USER)) {
            m->watch->trusting = false;
            return;
        }
    }
    if (rule->copies)
        copy_marks(m, live_reg(m, R_RDI), live_reg(m, R_RSI), lengths[0]);
}

/* ---- for Python ---------------------------------------------------------------------------------------------------------- */
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
    return 0;
}

static void drop_hook(struct machine *m)
{
    struct watch *w = m->watch;
    if (w->high)
        m->gone[m->gone_count++] = w->hook;
    for (uint64_t page = w->low & ~(PAGE - 1); page < w->high; page += PAGE)
        drop_code_at(m, page);
    w->low = w->high = 0;
}

/* Watch code from `start` to `end`: what hook there was is replaced by one over all ranges. */
EXPORT int kobox_watch_code(struct machine *m, uint64_t start, uint64_t end)
{
    struct watch *w = m->watch;
    if (!w || w->range_count == MAX_RANGES || end <= start || m->gone_count == MAX_PROBES)
        return -1;
    struct insn *insns = mmap(NULL, (end - start) * sizeof *insns, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (insns == MAP_FAILED)
        return -1;
    uint64_t low = w->high && w->low < start ? w->low : start, high = w->high > end ? w->high : end;
    drop_hook(m);
    w->ranges[w->range_count++] = (struct range){start, end, insns, false};
    w->low = low, w->high = high;
    if (m->uc_.hook_add(m->uc, &w->hook, UC_HOOK_CODE, (void *)on_instruction, m, low, high - 1) != UC_ERR_OK)
        return -1;
    for (uint64_t page = low & ~(PAGE - 1); page < high; page += PAGE)
        drop_code_at(m, page);
    return 0;
}

/* The code from `start` on will not run any more (a module's init): what comes to lie there is not watched. */
EXPORT void kobox_watch_over(struct machine *m, uint64_t start)
{
    struct watch *w = m->watch;
    for (size_t i = 0; w && i < w->range_count; i++)
        if (w->ranges[i].start == start)
            w->ranges[i].over = true;
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
    for (size_t i = 0; i < w->range_count; i++)
        munmap(w->ranges[i].insns, (w->ranges[i].end - w->ranges[i].start) * sizeof *w->ranges[i].insns);
    w->range_count = w->bound_count = 0;
    w->last = NULL;
    w->tail_target = w->inside = w->repeat_pc = 0;
    w->stop_at = 0;
    w->pointing = w->unwritten = 0;
    w->storing = w->storing_stack = 0;
    memset(w->rooms, 0, sizeof w->rooms);
}

EXPORT void kobox_watch_forget(struct machine *m)
{
    struct watch *w = m->watch;
    if (!w)
        return;
    kobox_watch_leave(m);
    w->executed = 0;
    w->kept_count = 0;
    madvise(w->shadow, m->ram_size + PAGE, MADV_DONTNEED);
    memset(w->tlb, 0, sizeof w->tlb);
}

EXPORT void kobox_watch_mark(struct machine *m, uint64_t address, uint64_t size, unsigned mark, int with_pattern)
{
    if (m->watch)
        fill(m, address, size, (uint8_t)mark, with_pattern);
}

/* A freed object is kept from now on: it is filled with FREED_BYTE, and whoever writes there is found out. */
EXPORT int kobox_watch_keep(struct machine *m, uint64_t address, uint64_t size)
{
    struct watch *w = m->watch;
    if (!w || w->kept_count == KEPT)
        return -1;
    w->kept[w->kept_count++] = (struct kept){address, size};
    for (uint64_t at = address, piece; at < address + size; at += piece) {
        uint64_t pa = physical(m, at), rest = address + size - at;
        piece = PAGE - (at & (PAGE - 1));
        piece = piece < rest ? piece : rest;
        if (pa < NOT_RAM)
            memset(m->ram + pa, FREED_BYTE, piece);
    }
    return 0;
}

/* It is kept no longer. */
EXPORT void kobox_watch_give(struct machine *m, uint64_t address)
{
    struct watch *w = m->watch;
    for (size_t i = 0; w && i < w->kept_count; i++) {
        if (w->kept[i].address != address)
            continue;
        memmove(w->kept + i, w->kept + i + 1, (--w->kept_count - i) * sizeof *w->kept);
        return;
    }
}

/* From which byte to which a kept object was changed; false: it is as it was filled. */
static bool spoilt(struct machine *m, const struct kept *k, uint64_t *from, uint64_t *to)
{
    bool found = false;
    for (uint64_t at = 0, piece; at < k->size; at += piece) {
        uint64_t va = k->address + at, pa = physical(m, va), rest = k->size - at;
        piece = PAGE - (va & (PAGE - 1));
        piece = piece < rest ? piece : rest;
        const uint8_t *ram = m->ram + pa;
        if (pa >= NOT_RAM || (ram[0] == FREED_BYTE && !memcmp(ram, ram + 1, piece - 1)))
            continue;
        for (uint64_t i = 0; i < piece; i++)
            if (ram[i] != FREED_BYTE) {
                *from = found ? *from : at + i;
                *to = at + i + 1;
                found = true;
            }
    }
    return found;
}

/* The youngest kept object that was changed, of those that make up `budget` bytes: its address, from, to; else false. */
EXPORT int kobox_watch_spoilt(struct machine *m, uint64_t budget, uint64_t *out)
{
    struct watch *w = m->watch;
    for (size_t i = w ? w->kept_count : 0; i-- && w->kept[i].size <= budget; budget -= w->kept[i].size)
        if (spoilt(m, &w->kept[i], &out[1], &out[2])) {
            out[0] = w->kept[i].address;
            return 1;
        }
    return 0;
}

/* The marks of `size` bytes; 0xFF where nothing is mapped. */
EXPORT void kobox_watch_marks(struct machine *m, uint64_t address, uint64_t size, uint8_t *out)
{
    for (uint64_t i = 0; i < size; i++) {
        uint64_t pa = physical(m, address + i);
        out[i] = pa >= NOT_RAM ? 0xFF : m->watch->shadow[pa];
    }
}

/* Look at memory on behalf of code at `pc`; also from within a probe, whose callback is running. */
EXPORT void kobox_watch_look(struct machine *m, uint64_t pc, uint64_t address, uint64_t size, int access, int to_user)
{
    bool nested = m->in_callback;
    m->in_callback = false;
    look(m, pc, address, size, access, to_user);
    m->in_callback = nested;
    m->watch->trusting = false;
}

/* What the decoder makes of an instruction. */
EXPORT int kobox_decode(const uint8_t *code, unsigned length, struct insn *out, size_t size)
{
    uint8_t whole[16] = {0};
    if (size != sizeof *out)
        return -1;
    memcpy(whole, code, length < 15 ? length : 15);
    *out = decode(whole, (uint8_t)length);
    return 0;
}

/* Objects that relocated operands must stay in: { start, end, address of the relocated field }, in order of the last. */
EXPORT int kobox_watch_bounds(struct machine *m, const struct bound *bounds, size_t count)
{
    struct watch *w = m->watch;
    struct bound *copy = realloc(w->bounds, count * sizeof *copy + 1);
    if (!copy)
        return -1;
    memcpy(copy, bounds, count * sizeof *copy);
    w->bounds = copy;
    w->bound_count = count;
    return 0;
}

EXPORT int kobox_watch_rule(struct machine *m, const struct rule *rule)
{
    struct probe *p = make_probe(m, rule->address, true);
    if (!p)
        return -1;
    if (!p->native)
        p->native = malloc(sizeof *rule);
    if (!p->native)
        return -1;
    *p->native = *rule;
    return 0;
}

EXPORT void kobox_watch_unrule(struct machine *m, uint64_t address)
{
    for (size_t i = 0; i < PROBE_SLOTS; i++) {
        struct probe *p = &m->probes[i];
        if (p->address != address || !p->native)
            continue;
        free(p->native);
        p->native = NULL;
        if (!p->python && !p->patches)
            remove_probe(m, p);
        return;
    }
}

/* In any probe at a function's entry: whether watched code has called it; then the caller is known, also of a jump. */
EXPORT int kobox_watch_from_module(struct machine *m) { return watch_called_from_module(m); }
EXPORT uint64_t kobox_watch_caller(struct machine *m) { return m->watch ? m->watch->caller : 0; }
EXPORT uint64_t kobox_watch_count(struct machine *m) { return m->watch ? m->watch->executed : 0; }
EXPORT void kobox_watch_stop_at(struct machine *m, uint64_t count) { m->watch->stop_at = count; }
EXPORT void kobox_watch_stack(struct machine *m, uint64_t limit)
{
    if (m->watch)
        m->watch->stack_limit = limit;
}

EXPORT void kobox_watch_inside(struct machine *m, int inside)
{
    if (m->watch)
        m->watch->inside = inside ? STACK_OF(live_reg(m, R_RSP)) : 0;
}

/*
 * Where `struct page` tells whether a page is in use (include/linux/mm_types.h, page-flags.h). A tail page of a compound one
 * has bit 0 of its head set: with a pointer to the first, or, in newer kernels, with a mask that leads there.
 */
struct pages_at { uint64_t start, size, refcount, type, head; };

static bool in_use(struct machine *m, const struct pages_at *at, uint64_t page)
{
    uint64_t head = 0, place = at->start + page * at->size, cr3 = live_cr3(m);
    int32_t count = 1;
    uint32_t type = 0;
    copy_virtual(m, cr3, place + at->head, &head, 8, false);
    if (head & 1)
        place = head - at->start < m->ram_size / PAGE * at->size ? head - 1 : place & head & ~1ull;
    if (!copy_virtual(m, cr3, place + at->refcount, &count, 4, false) || count > 0)
        return true;
    if (!copy_virtual(m, cr3, place + at->type, &type, 4, false))
        return true;
    bool buddy = type >> 24 == 0xF0 || type == 0xFFFFFF7F; /* PGTY_buddy; PG_buddy, before it had types */
    return type != ~0u && !buddy; /* slab pages need not be counted */
}

/*
 * How many words of RAM point into each of `count` objects (sorted): in `out[i]`, 255 at most. `ends` are where the objects end. Free
 * pages, freed objects and the stretches `skipped` (physical pages, `skips` of them) hold nothing but leftovers. This
 * is how memory that nobody can free any more is told from memory that somebody still holds.
 */
EXPORT void kobox_watch_referenced(struct machine *m, const uint64_t *starts, const uint64_t *ends, size_t count, uint8_t *out,
                                   const struct pages_at *pages, const uint64_t *skipped, size_t skips)
{
    if (!count)
        return;
    uint64_t low = starts[0], high = ends[count - 1];
    for (uint64_t page = 0; page < m->ram_size / PAGE; page++) {
        bool checked = false;
        for (uint64_t at = page * PAGE; at < (page + 1) * PAGE; at += 8) {
            uint64_t word;
            memcpy(&word, m->ram + at, 8);
            if (word < low || word >= high)
                continue;
            size_t a = 0, b = count;
            while (a < b) {
                size_t middle = (a + b) / 2;
                if (starts[middle] <= word)
                    a = middle + 1;
                else
                    b = middle;
            }
            if (!a || word >= ends[a - 1] || m->watch->shadow[at] & FORBIDDEN)
                continue;
            bool skip = !checked && !in_use(m, pages, page);
            for (size_t i = 0; !checked && !skip && i < skips; i++)
                skip = skipped[i] == page;
            if (skip)
                break;
            checked = true;
            out[a - 1] += out[a - 1] < 255;
        }
    }
}

void watch_close(struct machine *m)
{
    struct watch *w = m->watch;
    if (!w)
        return;
    for (size_t i = 0; i < w->range_count; i++)
        munmap(w->ranges[i].insns, (w->ranges[i].end - w->ranges[i].start) * sizeof *w->ranges[i].insns);
    munmap(w->shadow, m->ram_size + PAGE);
    free(w->bounds);
    free(w);
    m->watch = NULL;
}
