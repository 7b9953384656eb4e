/*
 * What the files of the machine's core share: the machine's data, the functions of libunicorn that it uses, and where
 * CPUX86State (qemu/target/i386/cpu.h) keeps what Unicorn's API does not reach.
 */
#ifndef KOBOX_CORE_H
#define KOBOX_CORE_H

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <unicorn/unicorn.h>
#include <unicorn/x86.h>

#define EXPORT __attribute__((visibility("default")))
#define ABI 3
#define PAGE 4096ull
#define CONSOLE_SIZE (1u << 20)
#define MAX_PROBES 4096
#define MODULES 0xFFFFFFFFC0000000ull /* where the kernel puts modules (Documentation/arch/x86/x86_64/mm.rst) */
#define DEVICES 0xFEA00000ull /* registers of devices that Python models: a page each (kobox/machine/devices.py) */
#define DEVICES_SIZE 0x10000ull
#define DEVICES_IRQ 5
#define DOORBELL 0x6B6F626Fu /* "kobo" in EAX, CPUID, ring 3 */

/* Virtual time: one executed basic block lasts so long. A 4 ms tick is then 62,500 blocks. */
#define NS_PER_BLOCK 64
#define TSC_HZ 1000000000ull /* one TSC tick is one virtual nanosecond */
#define PIT_HZ 1193182ull

enum event {
    EV_NONE,
    EV_DOORBELL,  /* a process of the box asks for its next system call */
    EV_IDLE,      /* the CPU waits for an interrupt and nothing will come before `until` */
    EV_DEADLINE,  /* virtual time has reached `until` */
    EV_SLICE,     /* `blocks` basic blocks were executed */
    EV_HALTED,    /* HLT with interrupts disabled: nothing can wake it */
    EV_RESET,     /* the kernel asked for a reboot */
    EV_TRIPLE,    /* an exception could not be delivered, nor the double fault after it */
    EV_ERROR,     /* Unicorn itself failed: see kobox_error() */
    EV_STOPPED,   /* a probe asked to stop */
    EV_DEVICE,    /* a device of Python's has something to tell */
};

#define RUN_STOP_WHEN_IDLE 1u

/* ---- offsets in CPUX86State, all relative to its first field, regs[0] (RAX) ------------------------------ */
enum {
    AT_REGS = 0, AT_EIP = 128, AT_HFLAGS = 176, AT_SEGS = 184, AT_TR = 352, AT_GDT = 376, AT_IDT = 400,
    AT_CR = 424, AT_ERROR_CODE = 5384, AT_IS_INT = 5388, AT_OLD_EXCEPTION = 5496,
};
struct segment { uint32_t selector, pad; uint64_t base; uint32_t limit, flags; };
enum { SEG_CS = 1, SEG_SS = 2 };
enum { HF_CPL = 3, HF_INHIBIT_IRQ = 1 << 3, HF_CS32 = 1 << 4, HF_SS32 = 1 << 5, HF_ADDSEG = 1 << 6, HF_CS64 = 1 << 15 };
enum { R_RAX, R_RCX, R_RDX, R_RBX, R_RSP, R_RBP, R_RSI, R_RDI, R_R8, R_R9, R_R10, R_R11, R_R12, R_R13, R_R14, R_R15 };
#define CODE64_FLAGS (1u << 23 | 1u << 21 | 1u << 15 | 1u << 12 | 1u << 11 | 1u << 9 | 1u << 8)
#define DATA_FLAGS (1u << 23 | 1u << 22 | 1u << 15 | 1u << 12 | 1u << 9 | 1u << 8)
#define FLAG_TF 0x100u
#define FLAG_IF 0x200u
#define FLAG_NT 0x4000u
#define FLAG_RF 0x10000u
#define FLAG_VM 0x20000u

/* ---- devices: plain data, saved in a snapshot as they stand ----------------------------------------------- */
struct pic { uint8_t irr, isr, imr, base, icw, read_isr, auto_eoi, lines; };
struct pit { uint8_t mode, latch_state, write_state, latched; uint16_t reload, latch; uint64_t start, expiry; };
struct uart {
    uint8_t ier, fcr, lcr, mcr, scr, dll, dlm, thre_pending;
    uint8_t rx[1024];
    uint16_t rx_head, rx_count;
};
struct lapic { uint32_t reg[64]; uint64_t timer_start, timer_expiry; };
struct devices {
    uint64_t time;           /* virtual nanoseconds since power on, at the last settling of the fuel */
    struct pic pic[2];
    struct pit pit[3];
    struct uart uart[2];
    struct lapic lapic;
    uint8_t cmos_index, port61, port92;
    uint16_t pm1_enable;
    uint64_t epoch;          /* seconds since 1970 at power on */
    uint64_t jitter;         /* state of the generator behind the cost of RDTSC */
    uint64_t exceptions[32], interrupts, syscalls;
};

/* A probe at a function's entry, or where one returns to, is where a block begins: the hook that counts blocks finds it. */
/* Which arrivals at a probe Python is told of, when not of all. */
enum { PROBE_ENTRY = 1, PROBE_FROM_MODULE = 2, PROBE_TRACKED_0 = 4, PROBE_TRACKED_1 = 8, PROBE_INSIDE = 16 };
struct rule;
struct probe { uint64_t address; uc_hook hook; struct rule *native; uint8_t hooked, python, wants, patches; };
#define PROBE_SLOTS 16384u
#define PROBE_BITS 32768u

#define PTE_P 1ull
#define PTE_W 2ull
#define PTE_D 0x40ull
#define PTE_PS 0x80ull
#define PTE_ADDRESS 0x000FFFFFFFFFF000ull

struct api {
    void *handle;
    uc_err (*open)(uc_arch, uc_mode, uc_engine **);
    uc_err (*close)(uc_engine *);
    uc_err (*ctl)(uc_engine *, uc_control_type, ...);
    uc_err (*map_ptr)(uc_engine *, uint64_t, uint64_t, uint32_t, void *);
    uc_err (*mmio_map)(uc_engine *, uint64_t, uint64_t, uc_cb_mmio_read_t, void *, uc_cb_mmio_write_t, void *);
    uc_err (*hook_add)(uc_engine *, uc_hook *, int, void *, void *, uint64_t, uint64_t, ...);
    uc_err (*hook_del)(uc_engine *, uc_hook);
    uc_err (*emu_start)(uc_engine *, uint64_t, uint64_t, uint64_t, size_t);
    uc_err (*emu_stop)(uc_engine *);
    uc_err (*reg_read)(uc_engine *, int, void *);
    uc_err (*reg_write)(uc_engine *, int, const void *);
    uc_err (*context_alloc)(uc_engine *, uc_context **);
    uc_err (*context_free)(uc_context *);
    uc_err (*context_save)(uc_engine *, uc_context *);
    uc_err (*context_restore)(uc_engine *, uc_context *);
    size_t (*context_size)(uc_engine *);
    const char *(*strerror)(uc_err);
};

typedef void (*probe_callback)(uint64_t address);
typedef uint64_t (*device_callback)(uint64_t offset, unsigned size, uint64_t value, int write);
enum access { READ, WRITE, WRITTEN };

struct machine {
    struct api uc_;
    uc_engine *uc;
    uc_context *context;
    uint8_t *env;            /* CPUX86State inside `context` */
    size_t env_size;
    uint8_t *cpu;            /* CPUX86State of the CPU itself: what hooks read */
    uint8_t *ram;
    const uint8_t *base;     /* what RAM was at the snapshot: read-only view of the same file, or NULL */
    uint64_t ram_size;
    struct devices dev;
    int64_t fuel, granted;   /* blocks left until the next settling, and how many there were */
    enum event event;
    bool denied;             /* a program has used a port that is not its own: `offender` is the CPU as it was then */
    uint8_t *offender;
    bool in_callback;
    uint64_t pc;
    uint8_t *code_pages;     /* one bit a page of RAM: code was translated from it */
    char console[CONSOLE_SIZE];
    uint64_t console_written;
    struct probe probes[PROBE_SLOTS]; /* a hash table by address; address 0: free */
    size_t probe_count;
    uint32_t probe_bits[PROBE_BITS / 32]; /* whether a probe may be at an address with this hash */
    struct watch *watch;     /* watch.c; NULL while nothing is watched */
    probe_callback on_probe;
    device_callback on_device;
    uint64_t stale[16384];   /* pages whose translations are to be dropped once the CPU is not inside one of them */
    size_t stale_count;
    uint64_t module_pages[8192]; /* pages that code was translated from at the addresses of modules */
    size_t module_page_count;
    struct { uint64_t page, sum; } user_pages[16384]; /* pages that programs' code was translated from, and what they held */
    size_t user_page_count;
    uint8_t *user_bits;      /* one bit a page of RAM: it is among them */
    uc_hook gone[MAX_PROBES]; /* hooks of removed probes, to be deleted then too */
    size_t gone_count;
    int pagemap;
    pid_t owner;             /* the process whose memory `pagemap` shows */
    uint64_t blocks;         /* executed since power on */
    uint64_t last_block;     /* address of the block executed last */
    uint64_t plain_loop;     /* the last block that was seen to repeat and is no string instruction */
    uint64_t user_doorbell;  /* address of the only CPUID that is a doorbell, 0 before it is known */
    uint64_t home;           /* CR3 of the processes that ring it */
    uint8_t agent[32];       /* the code around it */
    char error[256];
};


uint64_t read_reg(struct machine *m, int id);
void write_reg(struct machine *m, int id, uint64_t value);
const uint8_t *page_entry(struct machine *m, uint64_t cr3, uint64_t va, int *shift, bool *writable);
uint64_t walk(struct machine *m, uint64_t cr3, uint64_t va, enum access access);
bool copy_virtual(struct machine *m, uint64_t cr3, uint64_t va, void *data, uint64_t n, bool write);
void drop_code_at(struct machine *m, uint64_t va);

/* The CPU's registers as they are at this moment, inside a hook. */
static inline uint64_t live64(const struct machine *m, size_t at) { return *(const uint64_t *)(m->cpu + at); }
static inline uint64_t live_reg(const struct machine *m, int n) { return live64(m, AT_REGS + 8 * n); }
static inline uint64_t live_cr3(const struct machine *m) { return live64(m, AT_CR + 24); }

struct probe *make_probe(struct machine *m, uint64_t address, bool entry);
void remove_probe(struct machine *m, struct probe *p);

/* watch.c */
void watch_reached(struct machine *m, struct rule *rule);
void watch_arrives(struct machine *m);
bool watch_called_from_module(const struct machine *m);
bool watch_inside(const struct machine *m);
bool watch_tracks(const struct machine *m, int argument);
void watch_close(struct machine *m);

#endif
