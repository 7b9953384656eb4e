/*
 * One machine: how the files of the native core meet.
 *
 *       Python (kobox.machine, by ctypes)
 *         |  kobox_run(): until a hypercall, idleness, a deadline, the end of a budget, or death
 *         v
 *       run_loop.c  --emu_start-->  libunicorn  --hooks-->  blocks.c, x86_64/{exceptions,syscall,cpuid,io_ports,...}.c
 *         |                                                    |            |
 *         | struct platform                                    v            v
 *         v                                                 probes.c     pic.c pit.c lapic.c uart.c rtc.c
 *       pc.c (its timers and interrupts)                       | struct watcher
 *                                                              v
 *                                                           watch/
 *
 * A file calls only files that stand below it in this list (tests/machine/test_native_files.py):
 *
 *       machine.c          made, mapped, hooked, freed
 *       checkpoint.c       RAM, CPU and devices kept and given back
 *       watch/             every instruction of watched code, against a shadow of RAM
 *       taint/             values that came from a device, followed to what is decided by them
 *       run_loop.c         until something happens
 *       cpus.c             which CPU has the engine, and for how long
 *       pc.c               what a PC adds to a CPU: platform's table, ports, memory map
 *       bus.c              where nothing answers, and devices that Python models
 *       blocks.c           what happens when a block is translated and when it is executed
 *       probes.c           "when the CPU reaches this address"
 *       tracer.c           into traced functions, back, and out of them
 *       stepper.c          a debugger's view: every instruction
 *       profiler.c, profile_notes.c    how much is executed, and who called it; calls that are kept one by one
 *       code_cache.c       which translations are out of date
 *       board.c, PROCESSOR/virt.c    the same for a board that a device tree announces
 *       x86_64/, arm64/, armv7/, …  the CPU: its state, page tables, exceptions, system calls, CPUID, string instructions
 *       risc.c             what processors with a link register have in common
 *       pci.c              configuration space and windows of PCI devices
 *       pic.c pit.c lapic.c uart.c rtc.c    one device each
 *       clock.c            virtual time and the budget
 *       pagemap.c, checksum.c, unicorn_api.c
 *
 * Two tables of handlers stand where a lower file has to call a higher one: `struct platform`, with which the run loop
 * asks for interrupts and timers, and `struct watcher`, with which a probe asks what is watched.
 *
 * Three rules keep the guest whole:
 *   - the CPU is stopped only from inside a hook (Unicorn corrupts the guest otherwise);
 *   - time is virtual: blocks executed, plus what was slept; nothing here asks the host for the time;
 *   - state that Unicorn's API does not reach (CPL, error code, the exception in flight) is edited in CPUX86State
 *     itself, whose layout is verified when the machine is made and on every page fault (x86_64/cpu_state.c).
 */
#ifndef KOBOX_MACHINE_H
#define KOBOX_MACHINE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include <unicorn/unicorn.h>

#include "unicorn_api.h"

#define EXPORT __attribute__((visibility("default")))
#define PCI_PORTS 0xC000u               /* I/O BARs of PCI devices (kobox/machine/pci.py) */
#define PCI_MEMORY 0xE0000000ull       /* memory BARs below 4 GiB */
#define PCI_MEMORY_SIZE 0x1E000000ull
#define PCI_HIGH_MEMORY 0x800000000ull /* and above */
#define PCI_STORES 4
#define PCI_HIGH_MEMORY_SIZE 0x400000000ull
#define ABI 18
#define PAGE 4096ull
#define CONSOLE_SIZE (1u << 20)
#define DEVICES 0xFEA00000ull /* registers of devices that Python models: a page each (kobox/machine/devices.py) */
#define DEVICES_SIZE 0x10000ull
#define DEVICES_IRQ 5

/*
 * Virtual time: one executed basic block lasts so long, which is what QEMU without KVM needs on the same host (bench/clock.py).
 * After BUSY_BLOCKS without a rest, which is a second, it lasts longer: the kernel's own watchdogs wait for ten or twenty, and
 * whoever waits for what never ends should not wait that long.
 */
#define NS_PER_BLOCK 8
#define NS_PER_BUSY_BLOCK 64
#define BUSY_BLOCKS (125ll * 1000 * 1000)
#define READ_NS 48 /* and reading the clock: with the PAUSE that follows in a loop that waits for a time */

/* Unicorn keeps translations until this much is full, those of unloaded modules too, and then drops all. A boot makes 16 MiB. */
#define TRANSLATION_BYTES (32u << 20)

enum event {
    EV_NONE,
    EV_HYPERCALL, /* a process of the box asks for its next system call */
    EV_IDLE,      /* the CPU waits for an interrupt and nothing will come before `until` */
    EV_DEADLINE,  /* virtual time has reached `until` */
    EV_SLICE,     /* `blocks` basic blocks were executed */
    EV_HALTED,    /* the CPU waits for an interrupt with interrupts disabled: nothing can wake it */
    EV_RESET,     /* the kernel asked for a reboot */
    EV_TRIPLE,    /* an exception could not be delivered, nor the double fault after it */
    EV_ERROR,     /* Unicorn itself failed: see kobox_error() */
    EV_STOPPED,   /* a probe asked to stop */
    EV_DEVICE,    /* a device of Python's has something to tell */
};

/* ---- CPUs: plain data, saved in a snapshot as they stand (cpus.c) ------------------------------------------- */
#define MAX_CPUS 8
enum cpu_state {
    CPU_RUNS,
    CPU_HALTED,         /* waits for an interrupt */
    CPU_DEAD,           /* waits with interrupts disabled: only an NMI ends that */
    CPU_OFF,            /* has not been started */
    CPU_WAITS_FOR_SIPI, /* INIT has reset it */
    CPU_STARTS,         /* a start-up IPI has told it where */
};
enum turns { TURNS_ROUND, TURNS_RANDOM, TURNS_PRIORITY };
#define MAX_CHANGES 16
struct schedule {
    int turns;
    uint64_t seed;
    int64_t slice, left;  /* blocks a turn has; blocks left of this one */
    uint64_t random;
    int64_t began, change[MAX_CHANGES]; /* TURNS_PRIORITY: after so many blocks the running CPU gets the lowest priority */
    int changes, next_change;
    int priority[MAX_CPUS], lowest;
    int64_t alone;        /* blocks since the CPU was changed: one that spins must not starve the owner of its lock */
    bool solo;            /* no other CPU was ready */
    int held;             /* a CPU that stands still, or -1 ... */
    int64_t hold_left;    /* ... until the others have executed so many blocks, or all wait */
    int64_t wait_left;    /* ... for so many blocks, of NS_PER_BUSY_BLOCK where all sleep */
    uint64_t switches, flushes;
};
struct cpus {
    int count, current; /* current: the one whose state the engine holds */
    uint8_t state[MAX_CPUS], nmi[MAX_CPUS], start_page[MAX_CPUS];
    struct schedule schedule;
};

/* ---- devices: plain data, saved in a snapshot as they stand ----------------------------------------------- */
struct uart {
    uint8_t ier, fcr, lcr, mcr, scr, dll, dlm, thre_pending;
    uint8_t rx[1024];
    uint16_t rx_head, rx_count;
};
#if defined KOBOX_ARM64 || defined KOBOX_ARMV7
#include "arm/devices.h"
#elif defined KOBOX_RISCV64
#include "riscv64/devices.h"
#else
#define KOBOX_PC
struct pic { uint8_t irr, isr, imr, base, icw, read_isr, auto_eoi, lines, level; };
struct pit { uint8_t mode, latch_state, write_state, latched; uint16_t reload, latch; uint64_t start, expiry; };
struct lapic { uint32_t reg[64]; uint64_t timer_start, timer_expiry; };
struct devices {
    uint64_t time;           /* virtual nanoseconds since power on, at the last sync_time() */
    int64_t busy;            /* blocks since all CPUs waited, or a program made a system call */
    struct pic pic[2];
    struct pit pit[3];
    struct uart uart[2];
    struct lapic lapic[MAX_CPUS];
    uint8_t cmos_index, port61, port92;
    uint16_t pm1_enable;
    uint32_t pci_address;    /* what was written to port 0xCF8 */
    uint64_t epoch;          /* seconds since 1970 at power on */
    uint64_t jitter;         /* state of the generator behind the cost of RDTSC */
    uint64_t exceptions[32], interrupts, syscalls;
};
#endif

/* ---- probes ------------------------------------------------------------------------------------------------- */
/* Which arrivals at a probe Python is told of, when not of all. */
enum { PROBE_ENTRY = 1, PROBE_FROM_MODULE = 2, PROBE_TRACKED_0 = 4, PROBE_TRACKED_1 = 8, PROBE_INSIDE = 16, PROBE_UNFIT = 32,
       PROBE_DECLINED = 64 };
#define MAX_PROBES 4096
#define PROBE_SLOTS 16384u
#define PROBE_BITS 32768u
struct rule; /* watch/watch.h */
struct probe { uint64_t address; uc_hook hook; struct rule *native; uint8_t hooked, python, wants, patches, returns, fences; };

/* ---- lists that grow ------------------------------------------------------------------------------------------ */
struct list { uint64_t *items; size_t count, room; };
/* list.c. False: there is no memory, or the list has `most` items. */
bool list_add(struct list *list, uint64_t item, size_t most);
void list_free(struct list *list);

/* ---- the tables of handlers ------------------------------------------------------------------------------------- */
struct machine;

/* What the run loop asks of the machine around the CPU (pc.c). */
struct platform {
    uint64_t (*pc)(const struct machine *m);
    bool (*accepts_interrupts)(struct machine *m); /* one may be delivered before the next instruction */
    bool (*can_wake)(struct machine *m);           /* an interrupt would end a wait for one */
    bool wakes_masked;                             /* ... also while interrupts are off: the CPU goes on behind the wait */
    int (*pending_interrupt)(struct machine *m);   /* a number for take_interrupt(), or -1 */
    void (*take_interrupt)(struct machine *m, int number);
    void (*raise_due)(struct machine *m);          /* timers that have expired raise their interrupts */
    uint64_t (*next_due)(const struct machine *m); /* when the next one will, in virtual ns, or ~0 */
    bool (*deliver_deferred)(struct machine *m);   /* a fault that could not be delivered inside a translation */
    void (*device_interrupt)(struct machine *m);   /* the interrupt that devices of Python's share */
    void (*uart_line)(struct machine *m, int n, bool level); /* the interrupt of a 16550A */
    bool (*wakes)(struct machine *m, int cpu); /* an interrupt waits that ends this CPU's wait (several CPUs) */
    bool (*paging_differs)(const uint8_t *a, const uint8_t *b); /* between two states of a CPU: the TLB is of no use */
    void (*start_cpu)(struct machine *m, uint8_t *state, unsigned page); /* from `reset_state` to where the start-up IPI says */
};

/* What a probe asks of the watcher (watch/); there is none while nothing is watched. */
struct watcher {
    void (*arrives)(struct machine *m, bool begins);
    void (*reached)(struct machine *m, struct rule *rule);
    bool (*called_from_module)(struct machine *m);
    bool (*tracks)(struct machine *m, int argument);
    bool (*inside)(struct machine *m);
    void (*hold_ends)(struct machine *m); /* the CPU that is held goes on */
    bool (*declined)(struct machine *m);
    bool (*fits)(struct machine *m, const struct rule *rule);
    void (*returned)(struct machine *m, uint64_t site);
    void (*close)(struct machine *m);
};

/* ---- the machine ------------------------------------------------------------------------------------------------ */
typedef void (*probe_callback)(uint64_t address);
enum pci_space { PCI_SPACE_CONFIG, PCI_SPACE_MEMORY, PCI_SPACE_PORTS };
typedef uint64_t (*pci_callback)(int space, uint64_t at, unsigned size, uint64_t value, int write);
typedef uint64_t (*device_callback)(uint64_t offset, unsigned size, uint64_t value, int write);

struct user_page { uint64_t page, sum; };
#define MAX_STALE 16384u
#define MAX_MODULE_PAGES 8192u
#define MAX_USER_PAGES 16384u

struct machine {
    /* what is looked at before each block: side by side */
    int64_t budget;          /* blocks left until the next sync_time() */
    uint8_t *cpu;            /* the CPU's state: CPUX86State, CPUARMState */
    uint64_t last_block;     /* address of the block executed last */
    uint64_t debug_control;  /* DR7 as it was last seen */
    bool interrupt_waits;    /* one is pending that the CPU did not accept when it was started */
    bool first_block;        /* the CPU was just started, and has executed none */
    bool debug_hooked;       /* each instruction is looked at, for hardware breakpoints */

    struct unicorn_api api;
    uc_engine *uc;
    const struct platform *platform;
    const struct watcher *watcher; /* NULL while nothing is watched */
    struct watch *watch;           /* the watcher's own data */
    struct stepper *stepper;       /* a debugger looks at each instruction (stepper.c), or NULL */
    struct tracer *tracer;         /* calls are traced (tracer.c), or NULL */
    struct profiler *profiler;     /* blocks are counted by who called them (profiler.c), or NULL */

    /* the CPU (x86_64/cpu_state.c) */
    uc_context *context;
    uint8_t *env;            /* CPUX86State inside `context` */
    size_t env_size;
    uint8_t *saved;          /* room for one more CPUX86State, for whoever puts it back before it returns */
    uint8_t *offender;       /* the CPU as it was when a program used a port that is not its own, if `denied` */
    bool denied;
    uint64_t pc;

    uint8_t *ram;
    const uint8_t *base;     /* what RAM was at the snapshot: read-only view of the same file, or NULL */
    uint64_t ram_size;
    struct devices dev;
    struct cpus cpus;
    uint8_t *parked[MAX_CPUS]; /* the state of each CPU that the engine does not hold */
    uint8_t *reset_state;    /* the state of a CPU after INIT */
    uint64_t last_blocks[MAX_CPUS]; /* `last_block` of each */
    bool excused;            /* the error with which Unicorn stops is none (riscv64/traps.c) */
    bool yielded;            /* the CPU was stopped to be held before its next instruction */
    device_callback on_device;
    pci_callback on_pci;
    struct { uint64_t at, size; uint8_t *bytes; } pci_store[PCI_STORES]; /* memory on cards: nobody is asked for it */
    bool pci_all_ports;      /* ports that no device has are PCI's as well */
    uint64_t pci_reads;      /* how often a device was read */
    void (*device_read)(struct machine *m, uint64_t value, unsigned size); /* told of each, or NULL */
    void (*close_taint)(struct machine *m);
    struct taint *taint;     /* values that came from devices (taint/), NULL while none are followed */
    char console[CONSOLE_SIZE];
    uint64_t console_written;

    /* the clock (clock.c) */
    int64_t granted;         /* what `budget` was at the last sync_time() */
    uint64_t wake;           /* virtual time at which the run loop has something to do */
    uint64_t blocks;         /* executed since power on */
    uint64_t extra_work;     /* what else was done, in blocks that take the host as long */
    uint64_t work_end;       /* where kobox_run() comes back */
    uint64_t work_seen;      /* what was done when it came back */
    uint64_t unmeasured, measured_ns, measured_work; /* for spend_what_it_took() */
    enum event event;

    /* blocks.c */
    uint64_t translated;     /* blocks translated since kobox_run() was called */
    uint64_t plain_loop;     /* the last block that was seen to repeat and is no string instruction */

    /* probes.c */
    struct probe probes[PROBE_SLOTS]; /* a hash table by address; address 0: free */
    size_t probe_count;
    uint32_t probe_bits[PROBE_BITS / 32]; /* whether a probe may be at an address with this hash */
    probe_callback on_probe;
    bool in_callback;
    struct list gone;        /* hooks of removed probes, to be deleted once the CPU is not inside a translation */

    /* code_cache.c */
    uint8_t *code_pages;     /* one bit a page of RAM: code was translated from it */
    struct list stale;       /* pages whose translations are to be dropped once the CPU is not inside one of them */
    bool all_stale;          /* there were too many: all translations are to be dropped */
    struct list module_pages; /* pages that code was translated from at the addresses of modules */
    struct user_page user_pages[MAX_USER_PAGES]; /* pages that programs' code was translated from, and what they held */
    size_t user_page_count;
    uint8_t *user_bits;      /* one bit a page of RAM: it is among them */
    bool lost_user_page, lost_module_page; /* one more than there was room for: all count as changed */

    /* the hypercall (x86_64/cpuid.c) */
    /* calls that were put in between, of a processor whose return address is in a register (arm64/registers.c) */
    struct link { uint64_t entry, sp, address; } links[64];
    size_t link_count;

    uint64_t hypercall_at;   /* address of the only CPUID that is a hypercall, 0 before it is known */
    uint64_t home;           /* CR3 of the processes that make it */
    uint8_t agent[32];       /* the code around it */

    /* FENCE.I, ICIMVAU and ICIALLU (riscv64/fence.c, armv7/code_changes.c) */
    bool fenced;             /* code may have changed since it was translated */
    bool fences_lost;        /* where it is executed there was no room to remember */
    bool flush;              /* the TLB is to be flushed before the CPU goes on */

    /* hardware breakpoints (x86_64/debug_registers.c) */
    uc_hook debug_hooks[2];
    bool debug_pending, debug_resumed;
    uint32_t debug_hits;     /* which of them matched: a bit each */
    uint32_t debug_idle;     /* blocks since any was enabled */
    uint64_t debug_pc;       /* where the exception is to be raised */

    /* pagemap.c */
    int pagemap;
    pid_t owner;             /* the process whose memory `pagemap` shows */

    char error[256];
};

static inline bool bit_of(const uint8_t *bits, uint64_t n) { return bits[n / 8] >> (n & 7) & 1; }
static inline void set_bit(uint8_t *bits, uint64_t n) { bits[n / 8] |= (uint8_t)(1 << (n & 7)); }
static inline void clear_bit(uint8_t *bits, uint64_t n) { bits[n / 8] &= (uint8_t)~(1 << (n & 7)); }

/* ---- clock.c -------------------------------------------------------------------------------------------------------- */
void fail(struct machine *m, const char *format, ...) __attribute__((format(printf, 2, 3)));
void sync_time(struct machine *m);
uint64_t now(const struct machine *m);
uint64_t read_clock(struct machine *m);
void rest(struct machine *m);
uint64_t blocks_until(const struct machine *m, uint64_t ns);
/* Come back to the run loop before the next block: something about interrupts or timers has changed. */
void kick(struct machine *m);
uint64_t work_done(const struct machine *m);
void spend(struct machine *m, uint64_t blocks);
#define CALLBACK_COST 100 /* a call of Python takes as long as so many blocks, or longer */
void spend_event(struct machine *m);
void spend_what_it_took(struct machine *m, uint64_t ran);

#ifdef KOBOX_PC
/* ---- pic.c, pit.c, lapic.c, uart.c, rtc.c ------------------------------------------------------------------------------ */
void pic_line(struct machine *m, int irq, bool level);
void pic_pulse(struct machine *m, int irq);
void pic_level(struct machine *m, int irq, bool level);
int pic_pending(struct machine *m);
int pic_acknowledge(struct machine *m);
uint8_t pic_read(const struct machine *m, int chip, int a0);
void pic_write(struct machine *m, int chip, int a0, uint8_t value);

uint8_t pit_read(struct machine *m, int channel);
void pit_write(struct machine *m, int channel, uint8_t value);
void pit_control(struct machine *m, uint8_t value);
bool pit_output2(const struct machine *m);
void pit_raise_due(struct machine *m);
uint64_t pit_next_due(const struct machine *m); /* 0: never */

void lapic_reset(struct machine *m);
void lapic_raise(struct machine *m, int cpu, int vector);
int lapic_pending(const struct machine *m, int cpu);
int lapic_addressed(const struct machine *m, uint32_t destination, bool logical);
bool lapic_passes_pic(const struct machine *m);
void lapic_accept(struct machine *m, int vector);
void lapic_raise_due(struct machine *m);
uint64_t lapic_next_due(const struct machine *m); /* 0: never */
uint64_t lapic_read(uc_engine *uc, uint64_t offset, unsigned size, void *user);
void lapic_write(uc_engine *uc, uint64_t offset, unsigned size, uint64_t value, void *user);

uint8_t rtc_read(const struct machine *m);

/* ---- pci.c ----------------------------------------------------------------------------------------------------------------- */
bool pci_map(struct machine *m);
bool pci_has_port(uint32_t port);
uint32_t pci_port_read(struct machine *m, uint32_t port, int size);
void pci_port_write(struct machine *m, uint32_t port, uint32_t value, int size);
uint32_t pci_other_port(struct machine *m, uint32_t port, int size);

/* ---- pc.c ------------------------------------------------------------------------------------------------------------------ */
uint32_t pc_port_read(struct machine *m, uint32_t port, int size);
void pc_port_write(struct machine *m, uint32_t port, uint32_t value, int size);
#endif

/* ---- uart.c ----------------------------------------------------------------------------------------------------------------- */
uint8_t uart_read(struct machine *m, int n, int reg);
void uart_write(struct machine *m, int n, int reg, uint8_t value);

/* ---- pc.c, or board.c and PROCESSOR/virt.c: the board around the CPU ------------------------------------------------------------------------- */
void reset_board(struct machine *m);
bool map_board(struct machine *m);

/* ---- cpus.c ------------------------------------------------------------------------------------------------------------------- */
bool make_cpus(struct machine *m, int count);
void free_cpus(struct machine *m);
bool choose_cpu(struct machine *m);
bool any_cpu_can_wake(struct machine *m);
bool wait_while_held(struct machine *m);
uint64_t limit_to_turn(const struct machine *m, uint64_t grant);
void count_turn(struct machine *m, uint64_t blocks);
uint64_t roll(struct machine *m, uint64_t n);
void hold_cpu(struct machine *m, int cpu, int64_t blocks, int64_t wait);

/* ---- bus.c -------------------------------------------------------------------------------------------------------------------- */
uint64_t void_read(uc_engine *uc, uint64_t offset, unsigned size, void *user);
void void_write(uc_engine *uc, uint64_t offset, unsigned size, uint64_t value, void *user);
/* A register of a real device is about a microsecond away: a loop that polls one ends by its own timeout, or by the budget. */
#define ACCESS_NS 1024
uint64_t ask_model(struct machine *m, enum pci_space space, uint64_t at, unsigned size, uint64_t value, bool write);
uint64_t device_read(uc_engine *uc, uint64_t offset, unsigned size, void *user);
void device_write(uc_engine *uc, uint64_t offset, unsigned size, uint64_t value, void *user);

/* ---- code_cache.c ---------------------------------------------------------------------------------------------------------- */
void drop_code_page(struct machine *m, uint64_t page);
void drop_code_at(struct machine *m, uint64_t va);
void drop_stale(struct machine *m);
void forget_hook(struct machine *m, uc_hook hook);
void remember_code(struct machine *m, uint64_t va, uint64_t page);
void forget_module_code(struct machine *m);
void forget_changed_code(struct machine *m);

/* ---- probes.c ---------------------------------------------------------------------------------------------------------------- */
struct probe *find_probe(struct machine *m, uint64_t address);
struct probe *make_probe(struct machine *m, uint64_t address, bool entry);
void remove_probe(struct machine *m, struct probe *p);
bool hook_probe(struct machine *m, struct probe *p);
void reach_probe(struct machine *m, uint64_t address);

static inline uint32_t probe_hash(uint64_t address) { return (uint32_t)(address ^ address >> 13); }

static inline bool maybe_probed(const struct machine *m, uint64_t address)
{
    uint32_t bit = probe_hash(address) % PROBE_BITS;
    return m->probe_bits[bit / 32] >> (bit % 32) & 1;
}

/* ---- blocks.c ---------------------------------------------------------------------------------------------------------------- */
bool hook_blocks(struct machine *m);

/* ---- stepper.c --------------------------------------------------------------------------------------------------------------- */
void close_stepper(struct machine *m);

/* ---- tracer.c ---------------------------------------------------------------------------------------------------------------- */
void trace_block(struct machine *m, uint64_t address);
void close_tracer(struct machine *m);

/* ---- profiler.c -------------------------------------------------------------------------------------------------------------- */
void profile_block(struct machine *m, uint64_t address, uint32_t size);
void close_profiler(struct machine *m);

/* ---- peek.c ------------------------------------------------------------------------------------------------------------------ */
enum { MOST_PEEKED = 1 << 17 };
size_t peek(const uint8_t *from, uint8_t *to, size_t size);

/* ---- pagemap.c, checksum.c, checkpoint.c --------------------------------------------------------------------------------------- */
void pagemap_open(struct machine *m);
int64_t written_pages(struct machine *m, uint64_t *list);
EXPORT uint64_t kobox_sum(const uint8_t *data, uint64_t size);
EXPORT uint64_t kobox_state_size(struct machine *m);
EXPORT void kobox_state_save(struct machine *m, uint8_t *out);
EXPORT void kobox_state_load(struct machine *m, const uint8_t *in);

#endif
