/*
 * The RV64 CPU: where CPURISCVState (qemu/target/riscv/cpu.h) keeps what Unicorn's API does not reach, or reaches slowly, and what
 * the files of this directory offer.
 *
 * Unicorn executes and walks page tables; it does not take traps: its hook for interrupts is called instead (traps.c).
 */
#ifndef KOBOX_RISCV64_CPU_H
#define KOBOX_RISCV64_CPU_H

#include "../risc.h"
#include "../insn.h"

#include <unicorn/riscv.h>

/* Offsets in CPURISCVState: all registers of the machine are plain fields, and nothing is derived from them. */
enum {
    AT_XREGS = 0, AT_PC = 512, AT_RESERVATION = 520, AT_BAD_ADDRESS = 544, AT_PRIV = 592, AT_MSTATUS = 624, AT_MIP = 632, AT_MIE = 648,
    AT_MIDELEG = 656, AT_SATP = 672, AT_STVAL = 680, AT_MEDELEG = 696, AT_STVEC = 704, AT_SEPC = 712, AT_SCAUSE = 720,
};
/* Registers by their role. */
enum { R_LINK = 1, R_SP = 2, R_TASK = 4, R_FRAME = 8, R_RESULT = 10, R_ARGUMENT = 10, R_SYSCALL = 17, REGISTERS = 32 };
#define ARGUMENTS 8
#define RETURNS_BY_LINK true /* where a function has returned, the link register says where that is */
enum { USER_MODE = 0, SUPERVISOR_MODE = 1, MACHINE_MODE = 3 };
enum { STATUS_SIE = 1 << 1, STATUS_SPIE = 1 << 5, STATUS_SPP = 1 << 8 };
enum { SOFTWARE_INTERRUPT = 1, TIMER_INTERRUPT = 5, EXTERNAL_INTERRUPT = 9 }; /* bits of mip and sie, and causes */
#define PHYSICAL_END (1ull << 40)
#define NS_PER_TICK 16         /* of the time: 62.5 MHz */
#define HYPERCALL 0x6B6F00FFu  /* longer than 64 bits, of a length that is reserved: no instruction */
/* What the state is found by (risc.c). */
typedef uint64_t mark_t;
enum { AT_MARKS = AT_XREGS + 8, AT_LAST = AT_SCAUSE, FIRST_MARKED = UC_RISCV_REG_X1 };

static inline uint64_t *at64(uint8_t *state, size_t at) { return (uint64_t *)(state + at); }
static inline uint64_t live64(const struct machine *m, size_t at) { return *(const uint64_t *)(m->cpu + at); }
static inline uint64_t live_reg(const struct machine *m, unsigned n) { return live64(m, AT_XREGS + 8 * (size_t)n); }
static inline void set_live_reg(struct machine *m, unsigned n, uint64_t value) { *at64(m->cpu, AT_XREGS + 8 * (size_t)n) = value; }
static inline uint64_t live_pc(const struct machine *m) { return live64(m, AT_PC); }
static inline void set_live_pc(struct machine *m, uint64_t pc) { *at64(m->cpu, AT_PC) = m->pc = pc; }
static inline uint64_t live_sp(const struct machine *m) { return live_reg(m, R_SP); }
static inline uint64_t state_pc(const uint8_t *state) { return *(const uint64_t *)(state + AT_PC); }
static inline uint64_t address_space(const struct machine *m) { return (live64(m, AT_SATP) & 0xFFFFFFFFFFF) << 12; }
static inline bool in_user_mode(const struct machine *m) { return live64(m, AT_PRIV) == USER_MODE; }
static inline bool interrupts_enabled(const struct machine *m) { return in_user_mode(m) || live64(m, AT_MSTATUS) & STATUS_SIE; }
static inline bool opens_to_interrupt(const struct machine *m) { return interrupts_enabled(m); }
static inline bool is_kernel_address(uint64_t va) { return va >> 63; }

/* Software says by FENCE.I that code has changed, but not which (fence.c): what was translated from a page is compared then. */
static inline bool is_module_code(uint64_t va) { (void)va; return false; }
static inline bool is_program_code(uint64_t va) { (void)va; return true; }

/* The arguments of a function of the kernel, the first of them 0. */
static inline uint64_t live_argument(const struct machine *m, unsigned n) { return n < ARGUMENTS ? live_reg(m, R_ARGUMENT + n) : 0; }

/* Where an interrupt that was just delivered will return to: traps keep it in sepc, and leave the stack alone. */
static inline bool interrupted_at(struct machine *m, uint64_t *pc, uint64_t *sp)
{
    *pc = live64(m, AT_SEPC);
    *sp = live_sp(m);
    return true;
}

/* One CPU so far: none is started later (cpus.c). */
static inline void keep_reset_state(struct machine *m) { (void)m; }
/* There are no string instructions whose time has to be told. */
static inline void run_string_instruction(struct machine *m, uint64_t address) { (void)m, (void)address; }
/* There are no hardware breakpoints. */
static inline bool breakpoints_changed(const struct machine *m) { (void)m; return false; }
static inline bool change_breakpoints(struct machine *m) { (void)m; return false; }

/* ---- traps.c, sbi.c ------------------------------------------------------------------------------------------------------ */
void take_trap(struct machine *m, uint64_t cause, uint64_t value);
void call_firmware(struct machine *m);
uint64_t read_time(struct machine *m);

/* ---- fence.c --------------------------------------------------------------------------------------------------------------- */
bool meet_fence(struct machine *m, uint64_t pc, uint64_t size);

/* A block with such an instruction is about to be executed; before the next one what has changed is found out. */
static inline void reach_fence(struct machine *m, uint64_t pc)
{
    (void)pc;
    m->fenced = true;
    kick(m);
}

/* ---- plic.c ------------------------------------------------------------------------------------------------------------------ */
enum { IRQ_UART = 1, IRQ_DEVICES = 16 };
void plic_line(struct machine *m, unsigned source, bool level);
void plic_pulse(struct machine *m, unsigned source);
uint64_t plic_read(uc_engine *uc, uint64_t at, unsigned size, void *user);
void plic_write(uc_engine *uc, uint64_t at, unsigned size, uint64_t value, void *user);

#endif
