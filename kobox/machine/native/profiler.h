/* What the files of the profiler share: profiler.c counts by chain of calls, profile_notes.c notes single calls. */
#ifndef KOBOX_PROFILER_H
#define KOBOX_PROFILER_H

#include "processor.h"

#define MOST_NODES (1u << 20)
#define MOST_BLOCKS (1u << 21)
#define MOST_STACKS 1024u
#define MOST_FRAMES 192u
#define MOST_SYSCALLS 512u
#ifdef KOBOX_ARMV7
#define STACK_SHIFT 13 /* THREAD_SIZE: 8 KiB, aligned */
#else
#define STACK_SHIFT 14 /* THREAD_SIZE and IRQ_STACK_SIZE: 16 KiB, aligned */
#endif
#define NOBODY (~0u)   /* the node of code that counts for nobody */

/* What a function is. Of those that are noted, a number from 0 (<< ARGUMENT_SHIFT) says which argument is the memory or the cache. */
enum function_kind {
    OF_MODULE = 1, OF_INTERRUPT = 2,
    NOTE_INSIDE = 4,   /* its calls are noted while a module's function is on the stack */
    NOTE_DIRECT = 8,   /* only those that the module's own code makes */
    GIVES = 16,        /* its result is memory; what allocates inside is not noted again */
    TAKES_BACK = 32,   /* an argument is memory; noted if somebody was seen getting it */
    TAKES_MANY = 64,   /* the same for an array: the argument before it says how many */
    FROM_CACHE = 128,  /* an argument is a kmem_cache */
    SYSCALL = 256,
    PART = 512,        /* of a function, moved away: its beginning is no entry */
    ARGUMENT_SHIFT = 12,
    NOTED = NOTE_INSIDE | NOTE_DIRECT | GIVES | TAKES_BACK | TAKES_MANY,
    WITHOUT_MODULE = OF_INTERRUPT | TAKES_BACK | TAKES_MANY | SYSCALL,
};

struct function_start { uint64_t address; uint32_t number, kind; };
struct profile_block { uint64_t address, count; uint32_t size, instructions, function, at_entry; };
/* `off`: how often, how long in all, and how long at most interrupts were off from there; `off_inside`: they were off already
 * when the chain began. Times are virtual ns. */
struct profile_node {
    uint64_t calls, blocks, instructions, stack, off_times, off_ns, off_longest;
    uint32_t parent, function, off_inside, pad;
};
/* A call that was noted: when, how many instructions were counted till then, where the module's code made it. */
struct profile_note {
    uint64_t start, end, total, total_end, site, arguments[3], result, stack, cache_sizes;
    uint32_t node, function, returned, pad;
};
struct profile_syscall { uint64_t calls, instructions, most; uint32_t number, pad; };

/* `site`: where the module's code called, `note`: 1 + the number of the note of this call; `gives`: it is in an allocator. */
struct frame { uint64_t sp, site; uint32_t node, function, tails, note; bool of_module, gives; };
struct call_stack {
    uint64_t key;
    uint64_t syscall_sp, syscall_cost;
    uint32_t syscall, depth; /* syscall: 1 + its row; 0: none */
    struct frame frames[MOST_FRAMES];
};

/* Interrupts of a CPU are off since then (0: they are on, or no chain has to do with it). */
struct off_section { uint64_t since; uint32_t node, inside; };

struct profiler {
    struct function_start *functions;
    uint64_t function_count;
    struct profile_block *blocks; /* a hash table by address and size; size 0: free */
    uint64_t block_slots, block_count;
    struct profile_node *nodes;   /* node 0 is where all chains begin */
    uint32_t *children;           /* a hash table of nodes by parent and function; 0: free */
    uint64_t node_slots, node_count;
    struct call_stack *stacks;
    uint32_t stack_count;
    bool full;                    /* something did not fit: the profile is not whole */
    uint64_t total;               /* instructions that were counted */
    struct profile_note *notes;
    uint64_t note_slots, note_count;
    uint64_t *live;               /* a hash table of memory that was given and not taken back; 0: free, 1: taken away */
    uint64_t live_slots, live_used;
    struct profile_syscall syscalls[MOST_SYSCALLS];
    uint32_t syscall_count;
    struct off_section off[MAX_CPUS];
    uint32_t object_size_at, size_at; /* in struct kmem_cache */
};

void note_call(struct machine *m, const struct function_start *f, struct frame *frame, bool direct);
void note_returned(struct machine *m, uint32_t note);
void note_without_module(struct machine *m, struct call_stack *s, const struct function_start *f, uint64_t sp);
void interrupts_off(struct machine *m, uint32_t node, bool first);
void interrupts_on(struct machine *m);
void count_syscall(struct machine *m, struct call_stack *s, uint64_t sp, uint32_t instructions);
uint64_t return_site(struct machine *m);
void free_notes(struct profiler *p);

#endif
