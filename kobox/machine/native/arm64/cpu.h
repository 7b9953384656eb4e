/*
 * The AArch64 CPU: where CPUARMState (qemu/target/arm/cpu.h) keeps what Unicorn's API does not reach, or reaches slowly, and
 * what the files of this directory offer.
 *
 * Unicorn executes, walks page tables, and works out syndrome and fault address; it does not take exceptions: its hook for
 * interrupts is called instead (exceptions.c).
 */
#ifndef KOBOX_ARM64_CPU_H
#define KOBOX_ARM64_CPU_H

#include "../arm/arm.h"
#include "../insn.h"
#include "../risc.h"

#include <unicorn/arm64.h>

/* Offsets in CPUARMState; an array of exception levels has EL1 at + 8. */
enum {
    AT_XREGS = 64, AT_PC = 320, AT_PSTATE = 328, AT_DAIF = 560, AT_ELR = 568, AT_SP_EL = 600, AT_SCTLR = 672, AT_TTBR0 = 768,
    AT_TTBR1 = 800, AT_ESR = 984, AT_FAR = 1048, AT_VBAR = 1216, AT_TPIDR = 1296, AT_SYNDROME = 3024, AT_VADDRESS = 3032,
};
enum { EL1 = 8, SP = 31, REGISTERS = 32 };
/* Registers by their role. */
enum { R_SP = SP, R_FRAME = 29, R_RESULT = 0, R_ARGUMENT = 0, R_SYSCALL = 8 };
#define R_LINK 30
#define RETURNS_BY_LINK true /* where a function has returned, the link register says where that is */
/* What the state is found by (risc.c). */
typedef uint64_t mark_t;
enum { AT_MARKS = AT_XREGS, AT_LAST = AT_VADDRESS, FIRST_MARKED = UC_ARM64_REG_X0 };
#define FROM_ANCHORS true /* compilers reach several variables from one address (-fsection-anchors) */
#define CALLER_SAVED 0x4007FFFFu /* X0 to X18 and X30: nobody knows them after a call */
enum { PSTATE_SP = 1, PSTATE_EL = 12, PSTATE_F = 0x40, PSTATE_I = 0x80, PSTATE_PAN = 1 << 22, PSTATE_EL1H_MASKED = 0x3C5 };
#define SCTLR_M 1ull         /* paging is on */
#define SCTLR_SPAN (1ull << 23)
#define ENTRY_ADDRESS TABLE  /* what an entry of page_entry() maps */
#define TABLE 0x0000FFFFFFFFF000ull /* the address in a descriptor, and in TTBR0_EL1 without its ASID */
#define PHYSICAL_END (1ull << 40)
#define NS_PER_TICK 16       /* of the counter: 62.5 MHz */
#define HYPERCALL 0xD44D6DE0u /* hlt #0x6b6f: undefined without a debugger */

static inline uint64_t *at64(uint8_t *state, size_t at) { return (uint64_t *)(state + at); }
static inline uint32_t *at32(uint8_t *state, size_t at) { return (uint32_t *)(state + at); }
static inline uint64_t live64(const struct machine *m, size_t at) { return *(const uint64_t *)(m->cpu + at); }
static inline uint64_t live_reg(const struct machine *m, unsigned n) { return live64(m, AT_XREGS + 8 * (size_t)n); }

static inline void set_live_reg(struct machine *m, unsigned n, uint64_t value) { *at64(m->cpu, AT_XREGS + 8 * (size_t)n) = value; }
static inline void set_live_pc(struct machine *m, uint64_t pc) { *at64(m->cpu, AT_PC) = m->pc = pc; }
static inline uint64_t live_pc(const struct machine *m) { return live64(m, AT_PC); }
static inline uint64_t per_cpu_base(const struct machine *m) { return live64(m, AT_TPIDR + EL1); } /* my_cpu_offset */

static inline uint64_t live_sp(const struct machine *m) { return live_reg(m, SP); }

static inline uint64_t address_space(const struct machine *m) { return live64(m, AT_TTBR0 + EL1) & TABLE; }
/* Interrupts are accepted again, maybe for one block only, as in Linux's idle loop. */
static inline bool opens_to_interrupt(const struct machine *m) { return !(live64(m, AT_DAIF) & PSTATE_I); }
/* Software says by IC IVAU that code has changed (system_registers.c): nothing has to be guessed from where it runs. */
static inline bool is_kernel_address(uint64_t va) { return va >> 63; }
static inline bool is_module_code(uint64_t va) { (void)va; return false; }
static inline bool is_program_code(uint64_t va) { (void)va; return false; }
static inline uint64_t state_pc(const uint8_t *state) { return *(const uint64_t *)(state + AT_PC); }

/* The arguments of a function of the kernel (AAPCS64), the first of them 0. */
#define ARGUMENTS 8
static inline uint64_t live_argument(const struct machine *m, unsigned n) { return n < ARGUMENTS ? live_reg(m, n) : 0; }

/* An index as its instruction extends it (DecodeRegExtend()). */
enum { UXTW = 2, SXTW = 6 };
static inline uint64_t extended(uint64_t index, unsigned how)
{
    return how == UXTW ? (uint32_t)index : how == SXTW ? (uint64_t)(int64_t)(int32_t)index : index;
}

/* Where a memory operand is. */
static inline uint64_t operand(const struct machine *m, const struct insn *i, uint64_t pc)
{
    (void)pc;
    uint64_t address = (uint64_t)(int64_t)i->disp;
    if (i->base != NO_REG)
        address += live_reg(m, i->base);
    if (i->index != NO_REG)
        address += extended(live_reg(m, i->index), i->extra) * i->scale;
    return address;
}

/* The field of an instruction that a relocation fills in with an address that it uses, or stores; 0: none. */
static inline uint64_t address_field(const struct insn *i, uint64_t pc)
{
    return i->pointer == POINTER_MADE || i->pointer == POINTER_STEP ? pc : 0;
}
static inline uint64_t constant_field(const struct insn *i, uint64_t pc) { return (void)i, (void)pc, 0; }

/* DMB or DSB (Arm ARM, C4.1.66). */
static inline bool is_fence(const uint8_t *code)
{
    uint32_t word = (uint32_t)code[0] | (uint32_t)code[1] << 8 | (uint32_t)code[2] << 16 | (uint32_t)code[3] << 24;
    return (word & 0xFFFFF0DF) == 0xD503309F;
}

/* There are no string instructions. */
struct string { uint64_t count, to, from; };
static inline struct string string_operands(const struct machine *m, const struct insn *i)
{
    return (void)m, (void)i, (struct string){0};
}

/* Where an argument is on the stack that no register holds, at the function's entry. */
static inline uint64_t stack_argument_at(const struct machine *m, unsigned n) { return live_reg(m, SP) + 8 * (n - 8); }
static inline bool turns_interrupts_on(uint64_t saved) { return !(saved & PSTATE_I); } /* local_irq_restore(saved) */
static inline bool interrupts_enabled(const struct machine *m) { return !(live64(m, AT_DAIF) & PSTATE_I); }
/* The task that runs, while the kernel does; 0: no register says so. */
static inline uint64_t task_by_register(const struct machine *m) { return live64(m, AT_SP_EL); }
/* Whether a number may be an address of the kernel's code: its image and modules. */
static inline bool may_be_code(uint64_t va) { return va >> 40 == 0xFFFF80; }

/* ---- cpu_state.c ------------------------------------------------------------------------------------------------- */
uint32_t pstate(const struct machine *m);
void set_pstate(struct machine *m, uint32_t value);
void write_system(struct machine *m, int op0, int op1, int crn, int crm, int op2, uint64_t value);
uint64_t read_system(const struct machine *m, int op0, int op1, int crn, int crm, int op2);
static inline bool in_user_mode(const struct machine *m) { return !(pstate(m) & PSTATE_EL); }

/* Where an interrupt that was just delivered will return to: exceptions keep it in ELR_EL1, and leave the stack alone. */
static inline bool interrupted_at(struct machine *m, uint64_t *pc, uint64_t *sp)
{
    *pc = live64(m, AT_ELR + EL1);
    *sp = live_sp(m);
    return true;
}

/* ---- page_walk.c --------------------------------------------------------------------------------------------------- */
const uint8_t *page_entry(const struct machine *m, uint64_t space, uint64_t va, int *shift, bool *writable);

/* ---- exceptions.c, system_registers.c: the hooks on the CPU --------------------------------------------- */
void enter_kernel(struct machine *m, unsigned vector);
void on_exception(uc_engine *uc, uint32_t number, void *user);
bool hook_system_registers(struct machine *m);

/* One CPU so far: none is started later (cpus.c). */
static inline void keep_reset_state(struct machine *m) { (void)m; }

/* Whether an instruction that touches memory is atomic: exclusive, with acquire or release, or of LSE (Arm ARM, C4.1.94). */
static inline bool is_atomic(const uint8_t *code)
{
    uint32_t word = (uint32_t)code[0] | (uint32_t)code[1] << 8 | (uint32_t)code[2] << 16 | (uint32_t)code[3] << 24;
    return (word & 0x3F000000) == 0x08000000 || (word & 0x3B200C00) == 0x38200000;
}

/* There are no string instructions whose time has to be told. */
static inline void run_string_instruction(struct machine *m, uint64_t address) { (void)m, (void)address; }

/* Hardware breakpoints are x86-64's so far (x86_64/debug_registers.c): here the registers keep what is written. */
static inline bool breakpoints_changed(const struct machine *m) { (void)m; return false; }
static inline bool change_breakpoints(struct machine *m) { (void)m; return false; }

/* ---- timer.c --------------------------------------------------------------------------------------------------------- */
void timer_update(struct machine *m);
uint64_t timer_next_due(const struct machine *m); /* ~0: never */

/* Nothing that says of changed code has to be looked for (riscv64/fence.c). */
static inline bool meet_fence(struct machine *m, uint64_t pc, uint64_t size) { return (void)m, (void)pc, (void)size, false; }
static inline void reach_fence(struct machine *m, uint64_t pc) { (void)m, (void)pc; }

#endif
