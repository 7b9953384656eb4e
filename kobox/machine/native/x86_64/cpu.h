/*
 * The x86-64 CPU: where CPUX86State (qemu/target/i386/cpu.h) keeps what Unicorn's API does not reach, or reaches slowly, and what
 * the files of this directory offer.
 */
#ifndef KOBOX_X86_64_CPU_H
#define KOBOX_X86_64_CPU_H

#include "../machine.h"

#include "../insn.h"

#include <unicorn/x86.h>

#define MODULES 0xFFFFFFFFC0000000ull /* where the kernel puts modules (Documentation/arch/x86/x86_64/mm.rst) */
#define HYPERCALL 0x6B6F626Fu         /* "kobo" in EAX, CPUID, ring 3 */
#define TSC_HZ 1000000000ull          /* one TSC tick is one virtual nanosecond */

/* Offsets in CPUX86State, all relative to its first field, regs[0] (RAX). */
enum {
    AT_REGS = 0, AT_EIP = 128, AT_EFLAGS = 136 /* without the arithmetic ones */, AT_HFLAGS = 176, AT_SEGS = 184, AT_TR = 352, AT_GDT = 376, AT_IDT = 400,
    AT_CR = 424, AT_ERROR_CODE = 5384, AT_IS_INT = 5388, AT_DR = 5400, AT_OLD_EXCEPTION = 5496,
};
struct segment { uint32_t selector, pad; uint64_t base; uint32_t limit, flags; };
enum { SEG_CS = 1, SEG_SS = 2, SEG_FS = 4, SEG_GS = 5 };
enum { HF_CPL = 3, HF_INHIBIT_IRQ = 1 << 3, HF_CS32 = 1 << 4, HF_SS32 = 1 << 5, HF_ADDSEG = 1 << 6, HF_CS64 = 1 << 15 };
enum { R_RAX, R_RCX, R_RDX, R_RBX, R_RSP, R_RBP, R_RSI, R_RDI, R_R8, R_R9, R_R10, R_R11, R_R12, R_R13, R_R14, R_R15, REGISTERS };
/* Registers by their role. No register holds where a function returns to: a call pushes that. */
enum { R_SP = R_RSP, R_FRAME = R_RBP, R_RESULT = R_RAX };
#define R_LINK NO_REG
#define FROM_ANCHORS false /* each variable has an address of its own in the code */
#define CALLER_SAVED 0x0FC7u /* RAX RCX RDX RSI RDI R8-R11: nobody knows them after a call */
#define CODE64_FLAGS (1u << 23 | 1u << 21 | 1u << 15 | 1u << 12 | 1u << 11 | 1u << 9 | 1u << 8)
#define DATA_FLAGS (1u << 23 | 1u << 22 | 1u << 15 | 1u << 12 | 1u << 9 | 1u << 8)
#define REAL_MODE_DATA (1u << 15 | 1u << 12 | 1u << 9 | 1u << 8) /* present, a segment, writable, accessed */
#define REAL_MODE_CODE (REAL_MODE_DATA | 1u << 11)
#define CR0_PAGING (1ull << 31 | 1ull << 16 | 1ull) /* PG, WP, PE */
#define CR4_PAGING (1ull << 21 | 1ull << 20 | 1ull << 17 | 1ull << 12 | 1ull << 7 | 1ull << 5) /* SMAP, SMEP, PCIDE, LA57, PGE, PAE */
#define FLAG_TF 0x100u
#define FLAG_IF 0x200u
#define FLAG_DF 0x400u
#define FLAG_NT 0x4000u
#define FLAG_RF 0x10000u
#define FLAG_VM 0x20000u

#define PTE_P 1ull
#define PTE_W 2ull
#define PTE_D 0x40ull
#define PTE_PS 0x80ull
#define PTE_ADDRESS 0x000FFFFFFFFFF000ull
#define ENTRY_ADDRESS PTE_ADDRESS /* what an entry of page_entry() maps */

/* ---- the CPU's state, live (m->cpu) or a copy of it (m->env) -------------------------------------------------- */
static inline uint64_t *at64(uint8_t *state, size_t at) { return (uint64_t *)(state + at); }
static inline uint32_t *at32(uint8_t *state, size_t at) { return (uint32_t *)(state + at); }
static inline struct segment *segment_at(uint8_t *state, int n) { return (struct segment *)(state + AT_SEGS) + n; }

static inline uint64_t live64(const struct machine *m, size_t at) { return *(const uint64_t *)(m->cpu + at); }
static inline uint64_t live_reg(const struct machine *m, int n) { return live64(m, AT_REGS + 8 * (size_t)n); }
static inline uint64_t live_cr3(const struct machine *m) { return live64(m, AT_CR + 24); }
static inline uint64_t live_sp(const struct machine *m) { return live_reg(m, R_RSP); }
static inline unsigned live_cpl(const struct machine *m) { return live64(m, AT_HFLAGS) & HF_CPL; }
static inline uint64_t live_pc(const struct machine *m) { return live64(m, AT_EIP); }
static inline uint64_t per_cpu_base(const struct machine *m)
{
    return ((const struct segment *)(m->cpu + AT_SEGS))[SEG_GS].base;
}

/* Where a memory operand is: `pc` is the instruction's address. */
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

/* The field of an instruction that a relocation fills in with an address that it uses, or stores; 0: none. */
static inline uint64_t address_field(const struct insn *i, uint64_t pc) { return i->extra ? pc + i->extra : 0; }
static inline uint64_t constant_field(const struct insn *i, uint64_t pc)
{
    return i->value == VALUE_STORED && i->source == NO_REG ? pc + i->length - 4 : 0;
}

/* What a string instruction is about to do: so many times, to RDI, from RSI. */
struct string { uint64_t count, to, from; };
static inline struct string string_operands(const struct machine *m, const struct insn *i)
{
    return (struct string){i->flags & INSN_REP ? live_reg(m, R_RCX) : 1, live_reg(m, R_RDI), live_reg(m, R_RSI)};
}

/* For the files above: the address space that the CPU is in, and where code runs that Unicorn may not see change. */
static inline uint64_t address_space(const struct machine *m) { return live_cr3(m); }
/* Interrupts are accepted again: a window of a few instructions is long enough for the run loop to see it. */
static inline bool opens_to_interrupt(const struct machine *m) { (void)m; return false; }
static inline bool is_kernel_address(uint64_t va) { return va >> 63; }
static inline bool is_module_code(uint64_t va) { return va >= MODULES; }
static inline bool is_program_code(uint64_t va) { return !(va >> 47); }
static inline uint64_t state_pc(const uint8_t *state) { return *(const uint64_t *)(state + AT_EIP); }

/* The arguments of a function of the kernel (System V ABI), the first of them 0. */
#define ARGUMENTS 6
static inline uint64_t live_argument(const struct machine *m, unsigned n)
{
    static const uint8_t order[ARGUMENTS] = {R_RDI, R_RSI, R_RDX, R_RCX, R_R8, R_R9};
    return n < ARGUMENTS ? live_reg(m, order[n]) : 0;
}

/* Where an argument is on the stack that no register holds, at the function's entry: behind the return address. */
static inline uint64_t stack_argument_at(const struct machine *m, unsigned n) { return live_reg(m, R_RSP) + 8 * (n - ARGUMENTS + 1); }
static inline bool turns_interrupts_on(uint64_t saved) { return saved & FLAG_IF; } /* local_irq_restore(saved) */
static inline bool interrupts_enabled(const struct machine *m) { return live64(m, AT_EFLAGS) & FLAG_IF; }
/* The task that runs; 0: no register says so. */
static inline uint64_t task_by_register(const struct machine *m) { (void)m; return 0; }
/* Whether a number may be an address of the kernel's code: its image and modules. */
static inline bool may_be_code(uint64_t va) { return va >> 31 == 0x1FFFFFFFFull; }

/* ---- cpu_state.c ------------------------------------------------------------------------------------------------- */
bool calibrate(struct machine *m);
void env_load(struct machine *m);
void env_store(struct machine *m);
uint64_t read_reg(struct machine *m, int id);
void write_reg(struct machine *m, int id, uint64_t value);
/* Several CPUs: what one is like before it has run; its state at a start-up IPI; whether two see memory through other tables. */
void keep_reset_state(struct machine *m);
void start_cpu(struct machine *m, uint8_t *state, unsigned page);
bool paging_differs(const uint8_t *a, const uint8_t *b);
/* Do `action` with the CPU in ring 0 and paging off, and put the CPU back to what it was. */
void with_paging_off(struct machine *m, void (*action)(struct machine *m));
/* Do `action`, and put the CPU back to what it was. */
void with_cpu_kept(struct machine *m, void (*action)(struct machine *m));

/* ---- decode.c -------- */
bool is_atomic(const uint8_t *code);
/* MFENCE. */
static inline bool is_fence(const uint8_t *code) { return code[0] == 0x0F && code[1] == 0xAE && code[2] == 0xF0; }

/* ---- hooks.c, registers.c ------------------------------------------------------------------------------------------ */
bool open_cpu(struct machine *m);
bool hook_cpu(struct machine *m);
bool leave_function(struct machine *m, uint64_t value);
static inline void restore_link(struct machine *m, uint64_t address) { (void)m, (void)address; } /* it is on the stack */
void set_argument(struct machine *m, unsigned n, uint64_t value);
void enter_function(struct machine *m, uint64_t function, uint64_t sp, uint64_t site);

/* ---- registers.c: where an interrupt that was just delivered will return to. False: it cannot be read. ------------------- */
bool interrupted_at(struct machine *m, uint64_t *pc, uint64_t *sp);

/* ---- page_walk.c -------------------------------------------------------------------------------------------------- */
enum access { READ, WRITE, WRITTEN, EXECUTE };
const uint8_t *page_entry(const struct machine *m, uint64_t cr3, uint64_t va, int *shift, bool *writable);
uint64_t walk(const struct machine *m, uint64_t cr3, uint64_t va, enum access access);
bool copy_virtual(struct machine *m, uint64_t cr3, uint64_t va, void *data, uint64_t n, bool write);

/* ---- exceptions.c, syscall.c, cpuid.c, tsc.c, io_ports.c: the hooks on the CPU -------------------------------------------- */
void deliver(struct machine *m, int vector, bool has_error, uint32_t error);
void enter_ring0(struct machine *m, uint16_t cs, uint16_t ss, uint32_t ss_flags);
void on_exception(uc_engine *uc, uint32_t vector, void *user);
bool on_invalid(uc_engine *uc, void *user);
void on_syscall(uc_engine *uc, void *user);
int on_cpuid(uc_engine *uc, void *user);
int on_rdtsc(uc_engine *uc, void *user);
int on_rdtscp(uc_engine *uc, void *user);
uint32_t on_port_read(uc_engine *uc, uint32_t port, int size, void *user);
void on_port_write(uc_engine *uc, uint32_t port, int size, uint32_t value, void *user);
bool deliver_denied(struct machine *m);

/* ---- debug_registers.c ------------------------------------------------------------------------------------------------------ */
bool change_breakpoints(struct machine *m);
bool deliver_debug(struct machine *m);

/* Whether change_breakpoints() has to look: asked before each block. */
static inline bool breakpoints_changed(const struct machine *m)
{
    return (live64(m, AT_DR + 56) != m->debug_control) | m->debug_hooked;
}

/* ---- string_instructions.c -------------------------------------------------------------------------------------------------- */
void run_string_instruction(struct machine *m, uint64_t address);

/* Nothing that says of changed code has to be looked for (riscv64/fence.c). */
static inline bool meet_fence(struct machine *m, uint64_t pc, uint64_t size) { return (void)m, (void)pc, (void)size, false; }
static inline void reach_fence(struct machine *m, uint64_t pc) { (void)m, (void)pc; }

#endif
