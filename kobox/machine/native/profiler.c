/*
 * What modules cost, exactly: every block that is executed while one of their functions is on the stack is counted, by the
 * chain of calls that led to it.
 *
 *     functions   sorted by address, each with a number; which of them are a module's, which are ways in of interrupts
 *     stacks      one for each stack of the kernel that a module's function stands on: the functions that are on it now
 *     nodes       the tree of chains: (the chain before, function) -> calls, blocks, instructions
 *     blocks      each block of code that was executed: how often, how many instructions it has
 *
 * No instruction is watched: a call is a block that begins at a function's entry with a stack that has grown, a return is a
 * stack that has shrunk. A tail call has the stack pointer of its caller's entry: it counts as called, and takes its place. What an interrupt does
 * in between counts for nobody, unless a module's function is called there: that begins a chain of its own.
 */
#include "profiler.h"

#define MOST_TAILS 16u /* tail calls in a row that make a chain longer: code may go on with them for ever */
#define LONGEST_BLOCK 4096u

static uint64_t mixed(uint64_t a, uint64_t b) { return ((a ^ b * 0xC2B2AE3D27D4EB4Full) * 0x9E3779B97F4A7C15ull) >> 20; }

static const struct function_start *function_of(const struct profiler *p, uint64_t address)
{
    uint64_t low = 0, high = p->function_count;
    while (low < high) {
        uint64_t middle = (low + high) / 2;
        if (p->functions[middle].address <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low ? &p->functions[low - 1] : NULL;
}

static uint64_t block_slot(const struct profiler *p, uint64_t address, uint32_t size)
{
    uint64_t n = mixed(address, size) & (p->block_slots - 1);
    while (p->blocks[n].size && (p->blocks[n].address != address || p->blocks[n].size != size))
        n = (n + 1) & (p->block_slots - 1);
    return n;
}

static bool grow_blocks(struct profiler *p)
{
    struct profiler old = *p;
    p->block_slots = old.block_slots ? old.block_slots * 2 : 8192;
    p->blocks = p->block_slots <= MOST_BLOCKS ? calloc(p->block_slots, sizeof *p->blocks) : NULL;
    if (!p->blocks) {
        p->blocks = old.blocks;
        p->block_slots = old.block_slots;
        return false;
    }
    for (uint64_t n = 0; n < old.block_slots; n++)
        if (old.blocks[n].size)
            p->blocks[block_slot(p, old.blocks[n].address, old.blocks[n].size)] = old.blocks[n];
    free(old.blocks);
    return true;
}

static uint32_t instructions_of(struct machine *m, uint64_t address, uint32_t size)
{
    uint8_t code[LONGEST_BLOCK];
    if (size > sizeof code || !copy_virtual(m, address_space(m), address, code, size, false))
        return 1;
    return count_instructions(code, size);
}

static struct profile_block *block_at(struct machine *m, struct profiler *p, uint64_t address, uint32_t size)
{
    uint64_t n = block_slot(p, address, size);
    if (p->blocks[n].size)
        return &p->blocks[n];
    if (p->block_count * 2 >= p->block_slots) {
        if (!grow_blocks(p)) {
            p->full = true;
            return NULL;
        }
        n = block_slot(p, address, size);
    }
    const struct function_start *function = function_of(p, address);
    p->block_count++;
    p->blocks[n] = (struct profile_block){
        .address = address,
        .size = size,
        .instructions = instructions_of(m, address, size),
        .function = function ? (uint32_t)(function - p->functions) : NOBODY,
        .at_entry = function && function->address == address && !(function->kind & PART),
    };
    return &p->blocks[n];
}

static uint64_t node_slot(const struct profiler *p, uint32_t parent, uint32_t function)
{
    uint64_t n = mixed(parent, function) & (p->node_slots - 1);
    while (p->children[n] && (p->nodes[p->children[n]].parent != parent || p->nodes[p->children[n]].function != function))
        n = (n + 1) & (p->node_slots - 1);
    return n;
}

static bool grow_nodes(struct profiler *p)
{
    uint64_t slots = p->node_slots ? p->node_slots * 2 : 4096;
    struct profile_node *nodes = slots / 2 <= MOST_NODES ? realloc(p->nodes, slots / 2 * sizeof *nodes) : NULL;
    uint32_t *children = nodes ? calloc(slots, sizeof *children) : NULL;
    if (nodes)
        p->nodes = nodes;
    if (!children)
        return false;
    free(p->children);
    p->children = children;
    p->node_slots = slots;
    for (uint32_t n = 1; n < p->node_count; n++)
        p->children[node_slot(p, p->nodes[n].parent, p->nodes[n].function)] = n;
    return true;
}

/* The chain that a function makes of its caller's; the caller's own when there is no room for more. */
static uint32_t node_of(struct profiler *p, uint32_t parent, uint32_t function)
{
    uint64_t slot = node_slot(p, parent, function);
    if (p->children[slot])
        return p->children[slot];
    if (p->node_count * 2 >= p->node_slots) {
        if (!grow_nodes(p)) {
            p->full = true;
            return parent;
        }
        slot = node_slot(p, parent, function);
    }
    uint32_t n = (uint32_t)p->node_count++;
    p->nodes[n] = (struct profile_node){.parent = parent, .function = function};
    p->children[slot] = n;
    return n;
}

static struct call_stack *stack_of(struct profiler *p, uint64_t sp)
{
    uint64_t key = sp >> STACK_SHIFT, n = mixed(key, 0) & (MOST_STACKS - 1);
    for (uint32_t tried = 0; tried < MOST_STACKS; tried++, n = (n + 1) & (MOST_STACKS - 1)) {
        struct call_stack *s = &p->stacks[n];
        if (s->key == key)
            return s;
        if (!s->key) {
            if (p->stack_count * 4 >= MOST_STACKS * 3)
                break;
            p->stack_count++;
            s->key = key;
            return s;
        }
    }
    p->full = true;
    return NULL;
}

/* The uppermost function is left. */
static void pop(struct machine *m, struct call_stack *s)
{
    const struct frame *top = &s->frames[--s->depth];
    if (top->note)
        note_returned(m, top->note);
    if (!s->depth && m->profiler->off[m->cpus.current].since)
        interrupts_on(m);
}

/* A function is called by `before`: its frame, whose node is nobody's for an interrupt's way in, and for the kernel's functions
 * where no module's is. With `tail`, it takes the place of that frame, and what was noted of it goes on. */
static void enter(struct machine *m, struct call_stack *s, const struct function_start *f, uint64_t sp, const struct frame *before,
                  uint32_t parent, bool tail)
{
    struct profiler *p = m->profiler;
    struct frame frame = {.sp = sp, .node = NOBODY, .function = f->number, .of_module = f->kind & OF_MODULE};
    if (f->kind & OF_INTERRUPT)
        frame.node = NOBODY;
    else if (parent != NOBODY)
        frame.node = node_of(p, parent, f->number);
    else if (f->kind & OF_MODULE)
        frame.node = node_of(p, 0, f->number);
    if (frame.node != NOBODY)
        p->nodes[frame.node].calls++;
    if (before) {
        frame.site = before->of_module && !tail ? return_site(m) : before->site;
        frame.gives = before->gives;
        if (tail)
            frame.tails = before->tails + (before->tails < MOST_TAILS), frame.note = before->note;
    }
    bool direct = before && before->of_module;
    if (s->depth == MOST_FRAMES) {
        p->full = true;
        return;
    }
    if (f->kind & NOTED)
        note_call(m, f, &frame, direct);
    s->frames[s->depth++] = frame;
}

static void push(struct machine *m, struct call_stack *s, const struct function_start *f, uint64_t sp)
{
    const struct frame *top = s->depth ? &s->frames[s->depth - 1] : NULL;
    enter(m, s, f, sp, top, top ? top->node : NOBODY, false);
}

/* The uppermost function has ended with a jump to another one. */
static void replace(struct machine *m, struct call_stack *s, const struct function_start *f, uint64_t sp)
{
    struct frame top = s->frames[--s->depth];
    bool many = top.tails == MOST_TAILS && top.node != NOBODY;
    enter(m, s, f, sp, &top, many ? m->profiler->nodes[top.node].parent : top.node, true);
}

/* The block is in the middle of a function that is not the uppermost: a way back that left the stack pointer where it was
 * (a link register), a jump into a part that the compiler has moved away, or a function that was entered unseen. */
static void adjust(struct machine *m, struct call_stack *s, const struct function_start *f, uint64_t sp)
{
    for (uint32_t n = s->depth; n-- > 0 && s->frames[n].sp - sp < 1u << STACK_SHIFT;)
        if (s->frames[n].function == f->number) {
            while (s->depth > n + 1)
                pop(m, s);
            return;
        }
    if (!s->depth && f->kind & OF_MODULE)
        push(m, s, f, sp);
}

static void follow(struct machine *m, struct call_stack *s, const struct profile_block *b, uint64_t sp)
{
    const struct function_start *f = &m->profiler->functions[b->function];
    while (s->depth && s->frames[s->depth - 1].sp < sp)
        pop(m, s);
    const struct frame *top = s->depth ? &s->frames[s->depth - 1] : NULL;
    if (!b->at_entry) {
        if (f->kind & OF_INTERRUPT && s->depth && top->function != f->number)
            push(m, s, f, sp); /* a table of vectors: each has an entry of its own */
        else if (!top || top->function != f->number)
            adjust(m, s, f, sp);
        return;
    }
    if (top && sp == top->sp) {
        if (top->function != f->number) /* else it is a loop that goes back to the entry */
            replace(m, s, f, sp);
    } else if (s->depth || f->kind & OF_MODULE) {
        push(m, s, f, sp);
    }
}

/* A block begins. */
void profile_block(struct machine *m, uint64_t address, uint32_t size)
{
    struct profiler *p = m->profiler;
    if (m->in_callback || !size)
        return;
    if (p->off[m->cpus.current].since && interrupts_enabled(m))
        interrupts_on(m);
    if (!is_kernel_address(address))
        return;
    uint64_t sp = live_sp(m);
    struct call_stack *s = stack_of(p, sp);
    if (!s)
        return;
    struct profile_block *b = block_at(m, p, address, size);
    if (!b || b->function == NOBODY)
        return;
    const struct function_start *f = &p->functions[b->function];
    if (!s->depth && b->at_entry && f->kind & WITHOUT_MODULE)
        note_without_module(m, s, f, sp);
    if (!s->depth && !(f->kind & OF_MODULE))
        return;
    follow(m, s, b, sp);
    uint32_t node = s->depth ? s->frames[s->depth - 1].node : NOBODY;
    if (node == NOBODY)
        return;
    uint64_t used = (1u << STACK_SHIFT) - (sp & ((1u << STACK_SHIFT) - 1));
    b->count++;
    p->nodes[node].blocks++;
    p->nodes[node].instructions += b->instructions;
    if (used > p->nodes[node].stack)
        p->nodes[node].stack = used;
    p->total += b->instructions;
    if (!p->off[m->cpus.current].since && !interrupts_enabled(m))
        interrupts_off(m, node, s->depth == 1 && b->at_entry);
    if (s->syscall)
        count_syscall(m, s, sp, b->instructions);
}

void close_profiler(struct machine *m)
{
    struct profiler *p = m->profiler;
    if (p) {
        free(p->functions);
        free(p->blocks);
        free(p->nodes);
        free(p->children);
        free(p->stacks);
        free_notes(p);
    }
    free(p);
    m->profiler = NULL;
}

/* Count from now on. -1: somebody counts already, or there is no memory. */
EXPORT int kobox_profile_open(struct machine *m)
{
    if (m->profiler)
        return -1;
    struct profiler *p = m->profiler = calloc(1, sizeof *p);
    if (p)
        p->stacks = calloc(MOST_STACKS, sizeof *p->stacks);
    if (!p || !p->stacks || !grow_blocks(p) || !grow_nodes(p)) {
        close_profiler(m);
        return -1;
    }
    p->nodes[0] = (struct profile_node){0};
    p->node_count = 1;
    return 0;
}

EXPORT void kobox_profile_close(struct machine *m) { close_profiler(m); }

/* The functions that there are now, sorted by address. Blocks are forgotten: they are to be read before. -1: no memory. */
EXPORT int kobox_profile_functions(struct machine *m, const struct function_start *functions, uint64_t count)
{
    struct profiler *p = m->profiler;
    struct function_start *kept = malloc((count ? count : 1) * sizeof *kept);
    if (!kept)
        return -1;
    memcpy(kept, functions, count * sizeof *kept);
    free(p->functions);
    p->functions = kept;
    p->function_count = count;
    memset(p->blocks, 0, p->block_slots * sizeof *p->blocks);
    p->block_count = 0;
    return 0;
}

/* How many nodes there are, the first of which is where all chains begin; up to `room` of them are copied to `out`. */
EXPORT uint64_t kobox_profile_nodes(struct machine *m, struct profile_node *out, uint64_t room)
{
    struct profiler *p = m->profiler;
    if (room)
        memcpy(out, p->nodes, (room < p->node_count ? room : p->node_count) * sizeof *out);
    return p->node_count;
}

/* The blocks that counted for somebody, in no order. Returns how many there are. */
EXPORT uint64_t kobox_profile_blocks(struct machine *m, struct profile_block *out, uint64_t room)
{
    struct profiler *p = m->profiler;
    uint64_t found = 0;
    for (uint64_t n = 0; n < p->block_slots; n++)
        if (p->blocks[n].count && found++ < room)
            out[found - 1] = p->blocks[n];
    return found;
}

/* Whether all was counted: nothing was left out for want of room. */
EXPORT int kobox_profile_whole(struct machine *m) { return !m->profiler->full; }

/* The machine has gone back in time: other functions are on the stacks. */
EXPORT void kobox_profile_restored(struct machine *m)
{
    memset(m->profiler->stacks, 0, MOST_STACKS * sizeof *m->profiler->stacks);
    m->profiler->stack_count = 0;
    memset(m->profiler->off, 0, sizeof m->profiler->off);
}
