/*
 * The ARMv7 CPU, a Cortex-A15 without large physical addresses: where CPUARMState (qemu/target/arm/cpu.h) keeps what Unicorn's API
 * does not reach, or reaches slowly, and what the files of this directory offer.
 *
 * Unicorn executes, walks page tables, and works out fault status and fault address; it does not take exceptions: its hooks for
 * interrupts and for invalid instructions are called instead (exceptions.c).
 */
#ifndef KOBOX_ARMV7_CPU_H
#define KOBOX_ARMV7_CPU_H

#include "../arm/arm.h"
#include "../insn.h"
#include "../risc.h"

#include <unicorn/arm.h>

/* Offsets in CPUARMState; what is banked by exception level has the kernel's at + 8, or in one word of it. */
enum {
    AT_REGS = 0, AT_CPSR = 340, AT_BANKED_SP = 416, AT_THUMB = 544, AT_DAIF = 560, AT_SCTLR = 672 + 8, AT_TTBR0 = 768 + 8,
    AT_TTBR1 = 800 + 8, AT_IFSR = 968, AT_DFSR = 984 + 8, AT_DFAR = 1048 + 8, AT_IFAR = 1048 + 12, AT_VBAR = 1216 + 8,
    AT_SYNDROME = 3024, AT_FSR = 3028, AT_VADDRESS = 3032,
};
/* Registers by their role. */
enum { R_SP = 13, R_LINK = 14, R_PC = 15, R_FRAME = 11, R_RESULT = 0, R_ARGUMENT = 0, R_SYSCALL = 7, REGISTERS = 16 };
#define ARGUMENTS 6 /* of a system call; of a function the first four */
#define RETURNS_BY_LINK false /* the return address is loaded from the stack into the program counter */
enum { MODE_USER = 0x10, MODE_IRQ = 0x12, MODE_SUPERVISOR = 0x13, MODE_ABORT = 0x17, MODE_UNDEFINED = 0x1B, MODE_MASK = 0x1F };
enum { CPSR_THUMB = 0x20, CPSR_I = 0x80, CPSR_A = 0x100, CPSR_CLEARED = 0x0700FE20 }; /* IT, J, E, T: what an exception clears */
enum { SCTLR_M = 1, SCTLR_V = 1 << 13 };
enum { BANK_SUPERVISOR = 1 };
#define PHYSICAL_END (1ull << 32)
#define HYPERCALL 0xE7F06BF0u /* udf #0x6b0 */
#define KERNEL_START 0xBF000000u /* MODULES_VADDR, with 3 GiB for programs (arch/arm/include/asm/memory.h) */
/* What the state is found by (risc.c). */
typedef uint32_t mark_t;
enum { AT_MARKS = AT_REGS, AT_LAST = AT_VADDRESS, FIRST_MARKED = UC_ARM_REG_R0 };

static inline uint64_t *at64(uint8_t *state, size_t at) { return (uint64_t *)(state + at); }
static inline uint32_t *at32(uint8_t *state, size_t at) { return (uint32_t *)(state + at); }
static inline uint32_t live32(const struct machine *m, size_t at) { return *(const uint32_t *)(m->cpu + at); }
static inline uint64_t live_reg(const struct machine *m, unsigned n) { return live32(m, AT_REGS + 4 * (size_t)n); }
static inline void set_live_reg(struct machine *m, unsigned n, uint64_t value) { *at32(m->cpu, AT_REGS + 4 * (size_t)n) = (uint32_t)value; }
static inline uint64_t live_pc(const struct machine *m) { return live_reg(m, R_PC); }
static inline void set_live_pc(struct machine *m, uint64_t pc) { set_live_reg(m, R_PC, m->pc = pc); }
static inline uint64_t live_sp(const struct machine *m) { return live_reg(m, R_SP); }
static inline uint64_t state_pc(const uint8_t *state) { return *(const uint32_t *)(state + AT_REGS + 4 * R_PC); }
static inline uint64_t address_space(const struct machine *m) { return live32(m, AT_TTBR0) & 0xFFFFC000; }
static inline bool in_user_mode(const struct machine *m) { return (live32(m, AT_CPSR) & MODE_MASK) == MODE_USER; }
static inline bool interrupts_enabled(const struct machine *m) { return !(live32(m, AT_DAIF) & CPSR_I); }
static inline bool opens_to_interrupt(const struct machine *m) { return interrupts_enabled(m); }
static inline bool is_kernel_address(uint64_t va) { return va >= KERNEL_START; }

/* Of the kernel's code software says by ICIMVAU which has changed; of programs' by ICIALLU that some may have (code_changes.c). */
static inline bool is_module_code(uint64_t va) { (void)va; return false; }
static inline bool is_program_code(uint64_t va) { return !is_kernel_address(va); }
enum {
    INVALIDATE_LINE = 0x0E070F35, INVALIDATE_ALL = 0x0E070F15, INVALIDATE_ALL_CPUS = 0x0E070F11, CACHE_OPERATION = 0x0FFF0FFF,
};
uint32_t code_at(const struct machine *m, uint64_t at);
bool meet_fence(struct machine *m, uint64_t pc, uint64_t size);
void reach_fence(struct machine *m, uint64_t pc);

/* The arguments of a function of the kernel (AAPCS32), the first of them 0. */
static inline uint64_t live_argument(const struct machine *m, unsigned n) { return n < 4 ? live_reg(m, R_ARGUMENT + n) : 0; }

/* Where an interrupt that was just delivered will return to: it has come from the supervisor mode, whose stack is put aside. */
static inline bool interrupted_at(struct machine *m, uint64_t *pc, uint64_t *sp)
{
    *pc = live_reg(m, R_LINK) - 4;
    *sp = live32(m, AT_BANKED_SP + 4 * BANK_SUPERVISOR);
    return true;
}

/* One CPU so far: none is started later (cpus.c). */
static inline void keep_reset_state(struct machine *m) { (void)m; }
/* There are no string instructions whose time has to be told. */
static inline void run_string_instruction(struct machine *m, uint64_t address) { (void)m, (void)address; }
/* Hardware breakpoints keep what is written, and never match. */
static inline bool breakpoints_changed(const struct machine *m) { (void)m; return false; }
static inline bool change_breakpoints(struct machine *m) { (void)m; return false; }

/* ---- cpu_state.c ---------------------------------------------------------------------------------------------------------- */
uint32_t cpsr(const struct machine *m);
void set_cpsr(struct machine *m, uint32_t value);
uint32_t read_system(const struct machine *m, int crn, int crm, int op1, int op2);
void write_system(struct machine *m, int crn, int crm, int op1, int op2, uint32_t value);

/* ---- exceptions.c ---------------------------------------------------------------------------------------------------------- */
void take_interrupt(struct machine *m, int line);

/* ---- sp804.c ----------------------------------------------------------------------------------------------------------------- */
enum { IRQ_SP804 = 35 };
void sp804_update(struct machine *m);
uint64_t sp804_next_due(const struct machine *m); /* ~0: never */
uint64_t sp804_read(uc_engine *uc, uint64_t at, unsigned size, void *user);
void sp804_write(uc_engine *uc, uint64_t at, unsigned size, uint64_t value, void *user);

#endif
