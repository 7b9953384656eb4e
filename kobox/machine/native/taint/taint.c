/*
 * Values that came from a device, followed through the code of modules to what is decided by them.
 *
 *     mov (%rdi),%eax      a register of the device is read                 node: READ 17
 *     shr $8,%eax          what becomes of the value                        node: SHR(READ 17, 8)
 *     cmp $0x13,%al        what it is compared with                         flags: COMPARE(…, 0x13)
 *     jne fail             which way it went                                decision: COMPARE(…, 0x13), not equal, taken
 *
 * Kept are the nodes, each made of older ones, and the decisions. Whoever reads them knows what the device must say for another
 * way (kobox/checks/phantom/solve.py). What is followed: registers and memory, as long as they hold the very number that was put
 * there, so that nothing has to be known of code that is not looked at; what a function returns, or stores where an argument
 * points to, if it is what was read in it.
 */
#include "../processor.h"
#include "dataflow.h"

#include <sys/mman.h>

#define MAX_CODE 128
#define MAX_NODES (1u << 19)
#define MAX_DECISIONS (1u << 16)
#define MOST_OF_A_PLACE 128
#define MAX_RECENT 16
#define CONDITION_CARRY 2 /* of conditional jumps: JB, JE */
#define CONDITION_ZERO 4
#define SLOTS (1u << 16)
#define MAX_FRESH 2048
#define STACKS 8
#define MAX_MEMORY 512
#define MAX_COPIERS 8
#define MOST_COPIED 4096
#define SPACE_DMA 3 /* Space.DMA of kobox/machine/pci.py */

struct node { uint8_t op, size; uint16_t how; uint32_t left, right; uint64_t left_value, right_value, value; };
struct decision { uint64_t pc; uint8_t op, size, condition, taken; uint32_t left, right, unused; uint64_t left_value, right_value; };
struct value { uint32_t node; uint64_t value; };
struct known { uint64_t at, value; uint32_t node; uint8_t size; };
struct flags { bool set; uint8_t op, size; struct value left, right; };

enum { SEEN = 1, TAKEN = 2, NOT_TAKEN = 4, DECODED = 8 };
struct spot { struct data_insn insn; uint8_t flags, decisions; };
struct code { uint64_t start, end; struct spot *spots; uc_hook hook; };

/* What is known of one task: the registers, and the instruction that was about to be executed. */
struct task {
    uint64_t stack, used;
    struct value registers[DATA_REGISTERS];
    struct flags flags;
    const struct spot *pending;
    uint64_t pc, to, target, arguments[ARGUMENTS]; /* of a call: where to, with what; of a string instruction: to, from, count */
    struct value a, b;
    bool from_device;
};

struct taint {
    struct code code[MAX_CODE], *last;
    size_t code_count;
    struct node *nodes;
    uint32_t node_count;
    struct decision *decisions;
    uint32_t decision_count;
    struct decision recent[MAX_RECENT]; /* the last ones, also of places that have had their share */
    uint32_t recent_count;
    struct known *memory;
    struct task tasks[STACKS], *now;
    uint64_t clock;
    struct { uint64_t sequence, value; uint8_t size; } fresh[MAX_FRESH]; /* reads since the last instruction that was looked at */
    size_t fresh_count;
    struct { uint64_t start, end; } shared[MAX_MEMORY]; /* memory that a device writes */
    size_t shared_count;
    uint64_t copiers[MAX_COPIERS]; /* functions that copy memory: (to, from, size) */
    size_t copier_count;
};

static uint64_t mask_of(unsigned size) { return size >= 8 ? ~0ull : (1ull << 8 * size) - 1; }
static bool is_sign(uint64_t value, unsigned size) { return value >> (8 * size - 1) & 1; }

/* ---- nodes ------------------------------------------------------------------------------------------------------------- */
static uint32_t add_node(struct taint *t, struct node node)
{
    if (t->node_count == MAX_NODES)
        return 0;
    t->nodes[t->node_count] = node;
    return t->node_count++;
}

static uint32_t narrowed(struct taint *t, uint32_t node, uint64_t value, unsigned size)
{
    if (!node || t->nodes[node].size <= size)
        return node;
    return add_node(t, (struct node){DATA_ZERO_EXTEND, (uint8_t)size, (uint16_t)size, node, 0, value, 0, value & mask_of(size)});
}

static uint32_t read_node(struct taint *t, size_t n)
{
    return add_node(t, (struct node){.op = DATA_READ, .size = t->fresh[n].size, .left_value = t->fresh[n].sequence, .value = t->fresh[n].value});
}

static void device_was_read(struct machine *m, uint64_t value, unsigned size)
{
    struct taint *t = m->taint;
    if (t->fresh_count < MAX_FRESH) {
        t->fresh[t->fresh_count].sequence = m->pci_reads;
        t->fresh[t->fresh_count].value = value;
        t->fresh[t->fresh_count++].size = (uint8_t)size;
    }
}

/* ---- memory ------------------------------------------------------------------------------------------------------------ */
static struct known *slot_of(struct taint *t, uint64_t at) { return &t->memory[(at ^ at >> 16) % SLOTS]; }

static uint64_t ram_value(const struct machine *m, uint64_t pa, unsigned size)
{
    uint64_t value = 0;
    memcpy(&value, m->ram + pa, size);
    return value;
}

static bool is_ram(const struct machine *m, uint64_t pa, unsigned size) { return pa <= m->ram_size - size; }

static void put_memory(struct machine *m, uint64_t pa, unsigned size, uint32_t node)
{
    struct known *k = slot_of(m->taint, pa);
    if (node)
        *k = (struct known){pa, ram_value(m, pa, size), node, (uint8_t)size};
    else if (k->at == pa)
        k->node = 0;
}

static const struct known *known_at(struct machine *m, uint64_t pa)
{
    const struct known *k = slot_of(m->taint, pa);
    return k->node && k->at == pa && ram_value(m, pa, k->size) == k->value ? k : NULL;
}

/* A number that lies in memory in pieces, each with a node of its own: bytes that came over a bus. */
static uint32_t joined(struct machine *m, uint64_t pa, unsigned size, const struct known *first)
{
    struct taint *t = m->taint;
    uint32_t whole = first->node;
    unsigned have = first->size;
    while (have < size) {
        const struct known *next = known_at(m, pa + have);
        unsigned piece = next ? next->size : 1;
        if (next && have + piece <= size) {
            uint64_t value = next->value & mask_of(piece), both = ram_value(m, pa, have + piece);
            uint32_t wide = add_node(t, (struct node){DATA_ZERO_EXTEND, (uint8_t)size, (uint16_t)piece, next->node, 0, value, 0, value});
            uint32_t moved = add_node(t, (struct node){DATA_SHL, (uint8_t)size, 0, wide, 0, value, 8 * have, value << 8 * have});
            whole = add_node(t, (struct node){DATA_OR, (uint8_t)size, 0, moved, whole, value << 8 * have, ram_value(m, pa, have), both});
        }
        have += piece;
    }
    return whole;
}

static uint32_t look_up(struct machine *m, uint64_t pa, unsigned size)
{
    struct taint *t = m->taint;
    for (unsigned back = 0; back < 8 && back <= pa; back++) {
        const struct known *k = known_at(m, pa - back);
        if (!k || k->size <= back)
            continue;
        uint32_t node = k->node;
        if (!back && k->size < size)
            return joined(m, pa, size, k);
        if (back)
            node = add_node(t, (struct node){DATA_SHR, k->size, 0, node, 0, k->value, 8 * back, k->value >> 8 * back});
        return narrowed(t, node, k->value >> 8 * back, size);
    }
    return 0;
}

/* What is known of memory goes with its copy: by memcpy(), or by a string instruction. */
static void copied(struct machine *m, uint64_t to, uint64_t from, uint64_t size)
{
    if (!is_kernel_address(to) || !is_kernel_address(from))
        return;
    for (uint64_t n = 0; n < size && n < MOST_COPIED; n++) {
        uint64_t source = walk(m, address_space(m), from + n, READ), target = walk(m, address_space(m), to + n, READ);
        const struct known *k = is_ram(m, source, 8) ? known_at(m, source) : NULL;
        if (k && k->size <= size - n && is_ram(m, target, k->size) && ram_value(m, target, k->size) == k->value)
            put_memory(m, target, k->size, k->node);
    }
}

/* The device may change what the driver is about to read: it is asked, as if this were a register. */
static bool ask_device(struct machine *m, uint64_t pa, unsigned size, struct value *out)
{
    struct taint *t = m->taint;
    for (size_t n = 0; n < t->shared_count; n++) {
        if (pa < t->shared[n].start || pa + size > t->shared[n].end)
            continue;
        uint64_t before = ram_value(m, pa, size);
        m->pci_reads++;
        uint64_t value = m->on_pci ? m->on_pci(SPACE_DMA, pa, size, before, 0) & mask_of(size) : before;
        if (value != before)
            memcpy(m->ram + pa, &value, size);
        *out = (struct value){add_node(t, (struct node){.op = DATA_READ, .size = (uint8_t)size, .left_value = m->pci_reads, .value = value}), value};
        return true;
    }
    return false;
}

static struct value load(struct machine *m, uint64_t va, unsigned size, bool *from_device)
{
    uint64_t pa = walk(m, address_space(m), va, READ);
    struct value found = {0};
    if (!is_ram(m, pa, size) || (pa & (PAGE - 1)) + size > PAGE) {
        *from_device = true;
        return found;
    }
    if (ask_device(m, pa, size, &found))
        return found;
    return (struct value){look_up(m, pa, size), ram_value(m, pa, size)};
}

/* ---- operands ---------------------------------------------------------------------------------------------------------- */
static uint64_t address_of(const struct machine *m, const struct data_insn *i, uint64_t pc)
{
    uint64_t address = (uint64_t)(int64_t)i->displacement + (i->from_rip ? pc + i->length : 0);
    if (i->base != NO_REGISTER)
        address += live_reg(m, i->base);
    if (i->index != NO_REGISTER) {
        uint64_t index = live_reg(m, i->index);
        if (i->index_size != 8)
            index = i->index_size & 16 ? (uint64_t)(int64_t)(int32_t)index : (uint32_t)index;
        address += index * i->scale;
    }
    return address + (i->per_cpu ? per_cpu_base(m) : 0);
}

static struct value register_value(struct machine *m, unsigned n)
{
    struct value *known = &m->taint->now->registers[n];
    uint64_t live = live_reg(m, (int)n);
    if (known->node && known->value != live)
        known->node = 0;
    return (struct value){known->node, live};
}

static struct value value_of(struct machine *m, const struct data_insn *i, struct data_operand o, unsigned size, uint64_t address, bool *from_device)
{
    struct taint *t = m->taint;
    struct value v = {0};
    switch (o.place) {
    case PLACE_REG:
        v = register_value(m, o.reg);
        v.node = narrowed(t, v.node, v.value, size);
        break;
    case PLACE_HIGH:
        v = register_value(m, o.reg);
        if (v.node)
            v.node = narrowed(t, add_node(t, (struct node){DATA_SHR, 8, 0, v.node, 0, v.value, 8, v.value >> 8}), v.value >> 8, 1);
        v.value >>= 8;
        break;
    case PLACE_MEMORY: v = load(m, address, size, from_device); break;
    case PLACE_NUMBER: v.value = i->number; break;
    default: break;
    }
    v.value &= mask_of(size);
    return v;
}

/* What is done with a number besides the operation itself. */
static struct value stepped(struct machine *m, struct value v, struct data_step s, unsigned size)
{
    unsigned by = (unsigned)s.number & (8 * size - 1), bits = 8u * (unsigned)s.number;
    uint64_t x = v.value & mask_of(size), y = x;
    switch (s.op) {
    case DATA_READ: return v;
    case DATA_SHL: y = x << by; break;
    case DATA_SHR: y = x >> by; break;
    case DATA_SAR: y = (is_sign(x, size) ? x | ~mask_of(size) : x), y = (uint64_t)((int64_t)y >> by); break;
    case DATA_ROR: y = by ? x >> by | x << (8 * size - by) : x; break;
    case DATA_AND: y = x & s.number; break;
    case DATA_NOT: y = ~x; break;
    case DATA_ZERO_EXTEND: y = x & mask_of((unsigned)s.number); break;
    case DATA_SIGN_EXTEND: y = x & mask_of((unsigned)s.number), y |= y >> (bits - 1) ? ~0ull << (bits - 1) : 0; break;
    default: return (struct value){0, v.value};
    }
    y &= mask_of(size);
    bool extends = s.op == DATA_ZERO_EXTEND || s.op == DATA_SIGN_EXTEND;
    if (v.node)
        v.node = add_node(m->taint, (struct node){s.op, (uint8_t)size, extends ? (uint16_t)s.number : 0, v.node, 0, v.value, extends ? 0 : s.number, y});
    return (struct value){v.node, y};
}

/* ---- conditions -------------------------------------------------------------------------------------------------------- */
static bool holds(const struct flags *f, uint8_t condition)
{
    uint64_t left = f->left.value & mask_of(f->size), right = f->right.value & mask_of(f->size), difference = (left - right) & mask_of(f->size);
    bool carry = left < right, zero = left == right, sign = is_sign(difference, f->size);
    bool overflow = is_sign((left ^ right) & (left ^ difference), f->size), yes = false;
    if (f->op == DATA_BIT)
        carry = f->left.value >> (f->right.value & (8u * f->size - 1)) & 1;
    switch (condition >> 1) {
    case 0: yes = overflow; break;
    case 1: yes = carry; break;
    case 2: yes = zero; break;
    case 3: yes = carry || zero; break;
    case 4: yes = sign; break;
    case 6: yes = sign != overflow; break;
    case 7: yes = sign != overflow || zero; break;
    default: break;
    }
    return yes != (condition & 1);
}

static bool is_followed(const struct flags *f) { return f->set && (f->left.node || f->right.node); }

/* A decision by some flags at a place that has had `before` of them. */
static void note_decision(struct taint *t, const struct flags *f, uint8_t *before, uint64_t pc, uint8_t condition, bool taken)
{
    struct decision *made = &t->recent[t->recent_count++ % MAX_RECENT];
    *made = (struct decision){
        .pc = pc, .op = f->op, .size = f->size, .condition = condition, .taken = taken, .left = f->left.node, .right = f->right.node,
        .left_value = f->left.value, .right_value = f->right.value};
    if (t->decision_count == MAX_DECISIONS || *before == MOST_OF_A_PLACE)
        return;
    ++*before;
    t->decisions[t->decision_count++] = *made;
}

static void decide(struct taint *t, struct spot *p, uint64_t pc, uint8_t condition, bool taken)
{
    if (is_followed(&t->now->flags))
        note_decision(t, &t->now->flags, &p->decisions, pc, condition, taken);
}

/* ---- what an instruction has done ----------------------------------------------------------------------------------------- */
static void put(struct machine *m, const struct data_insn *i, struct data_operand to, uint64_t address, struct value v, unsigned size)
{
    struct taint *t = m->taint;
    if (to.place == PLACE_REG) {
        struct value *known = &t->now->registers[to.reg];
        uint64_t live = live_reg(m, to.reg);
        if (size < 4 && (v.node || known->node))
            v.node = add_node(t, (struct node){DATA_INSERT, 8, (uint16_t)size, known->node, v.node, known->value, v.value, live});
        *known = (struct value){v.node, live};
    } else if (to.place == PLACE_HIGH) {
        t->now->registers[to.reg].node = 0;
    } else if (to.place == PLACE_MEMORY) {
        uint64_t pa = walk(m, address_space(m), address, READ);
        if (is_ram(m, pa, size) && (pa & (PAGE - 1)) + size <= PAGE)
            put_memory(m, pa, size, v.node);
    }
    (void)i;
}

static uint64_t result_of(struct machine *m, const struct data_insn *i, uint64_t address, uint64_t otherwise)
{
    if (i->to.place == PLACE_REG)
        return live_reg(m, i->to.reg) & mask_of(i->size);
    uint64_t pa = i->to.place == PLACE_MEMORY ? walk(m, address_space(m), address, READ) : ~0ull;
    return is_ram(m, pa, i->size) ? ram_value(m, pa, i->size) : otherwise;
}

static void clear_flags(struct task *now, const struct data_insn *i)
{
    if (i->sets_flags || !i->keeps_flags)
        now->flags.set = false;
}

/* Flags of a result are those of its comparison with zero. */
static void set_flags(struct task *now, const struct data_insn *i, uint8_t op, struct value left, struct value right)
{
    if (i->sets_flags)
        now->flags = (struct flags){true, op, i->size, left, right};
}

static void calculate(struct machine *m, const struct data_insn *i)
{
    struct taint *t = m->taint;
    struct task *now = t->now;
    struct value result = {0, 0};
    if (i->then.op != DATA_READ) { /* a field of bits: two operations */
        result = stepped(m, stepped(m, now->a, (struct data_step){i->op, i->number}, i->size), i->then, i->size);
        put(m, i, i->to, now->to, result, i->size);
        return;
    }
    bool same = now->a.node && now->a.node == now->b.node && (i->op == DATA_TEST || i->op == DATA_AND || i->op == DATA_OR);
    if (same) { /* test %eax,%eax */
        result = (struct value){now->a.node, now->a.value};
    } else if (now->a.node || now->b.node) {
        uint64_t value = i->op == DATA_TEST ? now->a.value & now->b.value : result_of(m, i, now->to, 0);
        struct node node = {i->op == DATA_TEST ? DATA_AND : i->op, i->size, i->from, now->a.node, now->b.node, now->a.value, now->b.value, value};
        result = (struct value){add_node(t, node), value};
    } else {
        result.value = i->op == DATA_TEST ? now->a.value & now->b.value : result_of(m, i, now->to, 0);
    }
    if (i->op == DATA_SUB)
        set_flags(now, i, DATA_COMPARE, now->a, now->b);
    else if (i->op == DATA_NEG) /* as of 0 - a */
        set_flags(now, i, DATA_COMPARE, (struct value){0, 0}, now->a);
    else
        set_flags(now, i, DATA_COMPARE, result, (struct value){0, 0});
    if (i->to.place != PLACE_NONE)
        put(m, i, i->to, now->to, result, i->size);
}

/* Where two registers are loaded or stored: the second. */
static void move_second(struct machine *m, const struct data_insn *i)
{
    struct task *now = m->taint->now;
    bool is_register = i->pair < DATA_REGISTERS - 1, from_device = false;
    struct data_operand second = {PLACE_REG, i->pair};
    uint64_t at = now->to + i->size;
    if (i->to.place == PLACE_MEMORY)
        put(m, i, i->to, at, is_register ? value_of(m, i, second, i->size, 0, &from_device) : (struct value){0}, i->size);
    else if (is_register)
        put(m, i, second, 0, load(m, at, i->size, &from_device), i->size);
}

/* One that is made only if a condition holds is decided by that first. */
static void compare(struct taint *t, struct spot *p)
{
    struct task *now = t->now;
    const struct data_insn *i = &p->insn;
    if (i->conditional) {
        bool yes = now->flags.set && holds(&now->flags, i->condition);
        decide(t, p, now->pc, i->condition, yes);
        if (!yes) {
            now->flags.set = false;
            return;
        }
    }
    set_flags(now, i, DATA_COMPARE, now->a, now->b);
}

static void exchange(struct machine *m, const struct data_insn *i)
{
    struct value a = m->taint->now->a, b = m->taint->now->b;
    put(m, i, i->to, m->taint->now->to, a, i->size);
    put(m, i, i->a, m->taint->now->to, b, i->size);
}

/* 1 or 0, in one byte: whether a condition holds. */
static struct value condition_value(struct taint *t, uint8_t condition)
{
    const struct flags *f = &t->now->flags;
    struct value v = {0, f->set && holds(f, condition)};
    if (is_followed(f)) {
        uint16_t how = (uint16_t)(condition | (f->op == DATA_BIT ? 1 << 4 : 0) | f->size << 8);
        v.node = add_node(t, (struct node){DATA_CONDITION, 1, how, f->left.node, f->right.node, f->left.value, f->right.value, v.value});
    }
    return v;
}

static void set_by_condition(struct machine *m, struct spot *p)
{
    put(m, &p->insn, p->insn.to, m->taint->now->to, condition_value(m->taint, p->insn.condition), p->insn.size);
}

/* ADC and SBB: as ADD and SUB, and the carry. SBB of a register with itself is how compilers make a number of a comparison. */
static void with_carry(struct machine *m, const struct data_insn *i)
{
    struct taint *t = m->taint;
    struct task *now = t->now;
    struct value carry = condition_value(t, CONDITION_CARRY), a = now->a, b = now->b, result = {0, result_of(m, i, now->to, 0)};
    uint8_t op = i->op == DATA_ADD_CARRY ? DATA_ADD : DATA_SUB;
    bool itself = op == DATA_SUB && i->to.place == PLACE_REG && i->b.place == PLACE_REG && i->to.reg == i->b.reg;
    if (now->flags.set && (carry.node || a.node || b.node)) {
        uint64_t sum = (op == DATA_ADD ? a.value + b.value : a.value - b.value) & mask_of(i->size);
        if (!itself && (a.node || b.node))
            a.node = add_node(t, (struct node){op, i->size, 0, a.node, b.node, a.value, b.value, sum});
        else
            a.node = 0;
        a.value = sum;
        result.node = a.node;
        if (carry.node) {
            uint32_t wide = add_node(t, (struct node){DATA_ZERO_EXTEND, i->size, 1, carry.node, 0, carry.value, 0, carry.value});
            result.node = add_node(t, (struct node){op, i->size, 0, a.node, wide, a.value, carry.value, result.value});
        }
    }
    set_flags(now, i, DATA_COMPARE, result, (struct value){0, 0});
    put(m, i, i->to, now->to, result, i->size);
}

/* ---- calls --------------------------------------------------------------------------------------------------------------------- */
/* Reads in a row whose values stand one behind the other from `address` on: what a function has stored for its caller. */
static bool found_in_memory(struct machine *m, uint64_t address)
{
    struct taint *t = m->taint;
    size_t first = 0, n;
    if (!is_kernel_address(address))
        return false;
    for (; first < t->fresh_count; first++) {
        for (n = first; n < t->fresh_count; n++, address += t->fresh[n - 1].size) {
            uint64_t pa = walk(m, address_space(m), address, READ);
            if (!is_ram(m, pa, t->fresh[n].size) || ram_value(m, pa, t->fresh[n].size) != t->fresh[n].value)
                break;
            put_memory(m, pa, t->fresh[n].size, read_node(t, n));
        }
        if (n > first)
            return true;
        if (first + 8 < t->fresh_count)
            first = t->fresh_count - 8; /* of many reads, the last ones */
    }
    return false;
}

static void returned(struct machine *m)
{
    struct taint *t = m->taint;
    struct task *now = t->now;
    for (int n = 0; n < DATA_REGISTERS; n++)
        if ((uint32_t)CALLER_SAVED >> n & 1)
            now->registers[n].node = 0;
    now->flags.set = false;
    if (!t->fresh_count)
        return;
    bool stored = false;
    for (int n = 0; n < ARGUMENTS; n++)
        stored |= found_in_memory(m, now->arguments[n]);
    uint64_t result = live_reg(m, R_RESULT);
    for (size_t n = t->fresh_count; n-- > 0 && !stored && n + 4 >= t->fresh_count;)
        if ((result & mask_of(t->fresh[n].size)) == t->fresh[n].value) {
            now->registers[R_RESULT] = (struct value){read_node(t, n), result};
            break;
        }
}

/* ---- the hook ------------------------------------------------------------------------------------------------------------------- */
static struct spot *spot_of(struct taint *t, uint64_t pc)
{
    if (!t->last || pc < t->last->start || pc >= t->last->end) {
        t->last = NULL;
        for (size_t n = 0; n < t->code_count && !t->last; n++)
            if (pc >= t->code[n].start && pc < t->code[n].end)
                t->last = &t->code[n];
    }
    return t->last ? &t->last->spots[pc - t->last->start] : NULL;
}

static void choose_task(struct machine *m)
{
    struct taint *t = m->taint;
    uint64_t stack = live_sp(m) & ~0x3FFFull;
    t->clock++;
    if (t->now && t->now->stack == stack)
        return;
    struct task *oldest = &t->tasks[0];
    for (int n = 0; n < STACKS; n++) {
        if (t->tasks[n].stack == stack) {
            t->now = &t->tasks[n];
            t->now->used = t->clock;
            return;
        }
        oldest = t->tasks[n].used < oldest->used ? &t->tasks[n] : oldest;
    }
    *oldest = (struct task){.stack = stack, .used = t->clock};
    t->now = oldest;
}

static void forget_killed(struct task *now, uint32_t kills)
{
    for (int n = 0; kills; n++, kills >>= 1)
        if (kills & 1)
            now->registers[n].node = 0;
}

/* The instruction that was about to be executed when the hook was called last has been: what has become of the data? */
static void complete(struct machine *m, uint64_t pc)
{
    struct taint *t = m->taint;
    struct task *now = t->now;
    struct spot *p = (struct spot *)now->pending;
    const struct data_insn *i = &p->insn;
    bool here = pc == now->pc + i->length;
    now->pending = NULL;
    if (now->from_device && t->fresh_count && here) {
        struct value *v = i->b.place == PLACE_MEMORY ? &now->b : &now->a;
        size_t last = t->fresh_count - 1;
        *v = (struct value){narrowed(t, read_node(t, last), t->fresh[last].value, i->op == DATA_ZERO_EXTEND || i->op == DATA_SIGN_EXTEND ? i->from : i->size), t->fresh[last].value};
        t->fresh_count = 0;
    }
    if (i->op == DATA_BRANCH) {
        struct flags kept = now->flags;
        p->flags |= here ? NOT_TAKEN : TAKEN;
        if (i->compares != DATA_READ)
            now->flags = (struct flags){true, i->compares, i->size, now->a, {0, i->compares == DATA_BIT ? i->number : 0}};
        decide(t, p, now->pc, i->condition, !here);
        now->flags = kept;
        return;
    }
    if (i->op == DATA_COPY) { /* the hook may be called for each step of it */
        uint64_t left[3];
        copy_operands(m, left);
        uint64_t steps = i->number ? now->arguments[2] - left[2] : 1;
        copied(m, now->arguments[0], now->arguments[1], steps * i->size);
    }
    for (size_t n = 0; n < t->copier_count && i->op == DATA_CALL && here; n++)
        if (now->target == t->copiers[n])
            copied(m, now->arguments[0], now->arguments[1], now->arguments[2]);
    if (i->op == DATA_CALL || t->fresh_count) {
        if (here || t->fresh_count)
            returned(m);
        t->fresh_count = 0;
        return;
    }
    if (!here) /* a jump, a return, an exception */
        return;
    forget_killed(now, i->kills);
    switch (i->op) {
    case DATA_NEW: case DATA_COPY: clear_flags(now, i); break;
    case DATA_MOVE: case DATA_POP:
        put(m, i, i->to, now->to, now->a, i->size);
        if (i->pair != NO_REGISTER)
            move_second(m, i);
        break;
    case DATA_PUSH: put(m, i, (struct data_operand){PLACE_MEMORY, 0}, live_sp(m), now->a, 8); break;
    case DATA_EXCHANGE: exchange(m, i); break;
    case DATA_COMPARE: compare(t, p); break;
    case DATA_BIT: set_flags(now, i, DATA_BIT, now->a, now->b); break;
    case DATA_SET: set_by_condition(m, p); break;
    case DATA_ADD_CARRY: case DATA_SUB_CARRY: with_carry(m, i); break;
    case DATA_CHOOSE: {
        bool yes = now->flags.set && holds(&now->flags, i->condition);
        decide(t, p, now->pc, i->condition, yes);
        put(m, i, i->to, now->to, yes ? now->b : now->a, i->size);
        break;
    }
    default: calculate(m, i); break;
    }
}

static void begin(struct machine *m, const struct spot *p, uint64_t pc)
{
    struct task *now = m->taint->now;
    const struct data_insn *i = &p->insn;
    bool extends = i->op == DATA_ZERO_EXTEND || i->op == DATA_SIGN_EXTEND;
    now->pending = p, now->pc = pc, now->from_device = false;
    now->to = address_of(m, i, pc);
    now->target = pc + i->length + i->number;
    if (i->op == DATA_CALL)
        for (unsigned n = 0; n < ARGUMENTS; n++)
            now->arguments[n] = live_argument(m, n);
    if (i->op == DATA_COPY)
        copy_operands(m, now->arguments);
    if (i->op == DATA_POP)
        now->a = load(m, live_sp(m), 8, &now->from_device);
    else
        now->a = value_of(m, i, i->a, extends ? i->from : i->size, now->to, &now->from_device);
    if (i->b.place == PLACE_REG && i->a.place == PLACE_REG && i->a.reg == i->b.reg && i->first.op == DATA_READ)
        now->b = now->a; /* test %eax,%eax: one node, not two that are alike */
    else
        now->b = value_of(m, i, i->op == DATA_EXCHANGE ? i->to : i->b, i->size, now->to, &now->from_device);
    now->b = stepped(m, now->b, i->first, i->size);
}

static void on_instruction(uc_engine *uc, uint64_t pc, uint32_t size, void *user)
{
    struct machine *m = user;
    struct taint *t = m->taint;
    struct spot *p = t ? spot_of(t, pc) : NULL;
    (void)uc;
    if (!p)
        return;
    choose_task(m);
    if (!(p->flags & DECODED)) {
        uint8_t code[32] = {0};
        if (!size || size > 15 || !copy_virtual(m, address_space(m), pc, code, size, false))
            return;
        p->insn = data_instruction(code, (uint8_t)size);
        p->insn.length = (uint8_t)size;
        p->flags |= DECODED;
    }
    if (t->now->pending)
        complete(m, pc);
    else if (t->fresh_count)
        returned(m);
    t->fresh_count = 0;
    p->flags |= SEEN;
    begin(m, p, pc);
}

/* ---- for Python ----------------------------------------------------------------------------------------------------------------- */
static void drop_code(struct machine *m)
{
    struct taint *t = m->taint;
    for (size_t n = 0; n < t->code_count; n++) {
        struct code *c = &t->code[n];
        forget_hook(m, c->hook);
        for (uint64_t page = c->start & ~(PAGE - 1); page < c->end; page += PAGE)
            drop_code_at(m, page);
        munmap(c->spots, (c->end - c->start) * sizeof *c->spots);
    }
    t->code_count = 0;
    t->last = NULL;
}

static void *room(size_t size)
{
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return at == MAP_FAILED ? NULL : at;
}

/* Follow nothing any more. */
EXPORT void kobox_taint_close(struct machine *m)
{
    struct taint *t = m->taint;
    if (!t)
        return;
    drop_code(m);
    m->device_read = NULL;
    m->taint = NULL;
    munmap(t->nodes, MAX_NODES * sizeof *t->nodes);
    munmap(t->decisions, MAX_DECISIONS * sizeof *t->decisions);
    munmap(t->memory, SLOTS * sizeof *t->memory);
    free(t);
}

/* Begin to follow what devices say, of `registers` too; -1: there is no memory, or it has begun already. */
EXPORT int kobox_taint_open(struct machine *m, int registers)
{
    struct taint *t = m->taint ? NULL : calloc(1, sizeof *t);
    if (!t)
        return -1;
    t->nodes = room(MAX_NODES * sizeof *t->nodes);
    t->decisions = room(MAX_DECISIONS * sizeof *t->decisions);
    t->memory = room(SLOTS * sizeof *t->memory);
    m->taint = t;
    if (!t->nodes || !t->decisions || !t->memory) {
        m->taint = NULL;
        free(t); /* the rest is a process's last megabytes */
        return -1;
    }
    t->node_count = 1;
    m->device_read = registers ? device_was_read : NULL;
    m->close_taint = kobox_taint_close;
    return 0;
}

/* Look at the code from `start` to `end`. */
EXPORT int kobox_taint_code(struct machine *m, uint64_t start, uint64_t end)
{
    struct taint *t = m->taint;
    if (!t || t->code_count == MAX_CODE || end <= start || end - start > 1ull << 28)
        return -1;
    struct code *c = &t->code[t->code_count];
    *c = (struct code){start, end, room((end - start) * sizeof *c->spots), 0};
    if (!c->spots)
        return -1;
    if (m->api.hook_add(m->uc, &c->hook, UC_HOOK_CODE, (void *)on_instruction, m, start, end - 1) != UC_ERR_OK) {
        munmap(c->spots, (end - start) * sizeof *c->spots);
        return -1;
    }
    t->code_count++;
    for (uint64_t page = start & ~(PAGE - 1); page < end; page += PAGE)
        drop_code_at(m, page);
    return 0;
}

/* Memory that a device writes: reads of it are asked of the device, as reads of its registers are. */
EXPORT int kobox_taint_memory(struct machine *m, uint64_t start, uint64_t size)
{
    struct taint *t = m->taint;
    if (!t || t->shared_count == MAX_MEMORY || size > m->ram_size || start > m->ram_size - size)
        return -1;
    t->shared[t->shared_count].start = start;
    t->shared[t->shared_count++].end = start + size;
    return 0;
}

/* Bytes in memory that a device has sent, each a read of its own: the number of the first one. */
EXPORT uint64_t kobox_taint_bytes(struct machine *m, uint64_t start, uint64_t size)
{
    struct taint *t = m->taint;
    uint64_t first = m->pci_reads + 1;
    m->pci_reads += size;
    if (!t || size > m->ram_size || start > m->ram_size - size)
        return first;
    for (uint64_t n = 0; n < size; n++)
        put_memory(m, start + n, 1, add_node(t, (struct node){.op = DATA_READ, .size = 1, .left_value = first + n, .value = m->ram[start + n]}));
    return first;
}

/* A function that copies memory, as memcpy() does. */
EXPORT int kobox_taint_copier(struct machine *m, uint64_t address)
{
    struct taint *t = m->taint;
    if (!t || t->copier_count == MAX_COPIERS)
        return -1;
    t->copiers[t->copier_count++] = address;
    return 0;
}

/* Forget what was followed and executed; the code that is looked at stays. */
EXPORT void kobox_taint_reset(struct machine *m)
{
    struct taint *t = m->taint;
    if (!t)
        return;
    t->node_count = 1;
    t->decision_count = t->recent_count = 0;
    t->fresh_count = t->shared_count = 0;
    memset(t->tasks, 0, sizeof t->tasks);
    t->now = NULL;
    madvise(t->memory, SLOTS * sizeof *t->memory, MADV_DONTNEED);
    for (size_t n = 0; n < t->code_count; n++)
        madvise(t->code[n].spots, (t->code[n].end - t->code[n].start) * sizeof *t->code[n].spots, MADV_DONTNEED);
}

/* One byte for each byte of code from `start` on: 1 where an instruction was executed, + 2 a branch taken, + 4 one not taken. */
EXPORT int kobox_taint_executed(struct machine *m, uint64_t start, uint8_t *out)
{
    struct taint *t = m->taint;
    for (size_t n = 0; t && n < t->code_count; n++) {
        if (t->code[n].start != start)
            continue;
        for (uint64_t at = 0; at < t->code[n].end - start; at++)
            out[at] = t->code[n].spots[at].flags & (SEEN | TAKEN | NOT_TAKEN);
        return 0;
    }
    return -1;
}

/* The tables of nodes and decisions, and how many rows there are; the sizes of a row are checked. */
EXPORT const struct node *kobox_taint_nodes(struct machine *m, size_t row, uint32_t *count)
{
    *count = m->taint && row == sizeof(struct node) ? m->taint->node_count : 0;
    return *count ? m->taint->nodes : NULL;
}

EXPORT const struct decision *kobox_taint_decisions(struct machine *m, size_t row, uint32_t *count)
{
    *count = m->taint && row == sizeof(struct decision) ? m->taint->decision_count : 0;
    return *count ? m->taint->decisions : NULL;
}

/* The decisions that were made last, the newest first, into `out`, which has room for `most`: how many. */
EXPORT uint32_t kobox_taint_recent(struct machine *m, size_t row, struct decision *out, uint32_t most)
{
    const struct taint *t = m->taint;
    uint32_t count = t && row == sizeof(struct decision) ? t->recent_count : 0;
    count = count < MAX_RECENT ? count : MAX_RECENT;
    count = count < most ? count : most;
    for (uint32_t n = 0; n < count; n++)
        out[n] = t->recent[(t->recent_count - 1 - n) % MAX_RECENT];
    return count;
}

/* A function of the code that is looked at has just returned an int to code that is not: whether it is 0 is a decision, at `pc`. */
EXPORT void kobox_taint_result(struct machine *m, uint64_t pc)
{
    struct taint *t = m->taint;
    uint8_t before = 0;
    if (!t || !t->now)
        return;
    choose_task(m);
    struct value v = t->now->registers[R_RESULT]; /* its upper half may be the sign by now */
    struct flags f = {true, DATA_COMPARE, 4, {narrowed(t, v.node, v.value, 4), v.value & mask_of(4)}, {0, 0}};
    if (is_followed(&f) && f.left.value == (live_reg(m, R_RESULT) & mask_of(4)))
        note_decision(t, &f, &before, pc, CONDITION_ZERO, !f.left.value);
}
