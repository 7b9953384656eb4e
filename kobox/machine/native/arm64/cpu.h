/*
 * The AArch64 CPU: where CPUARMState (qemu/target/arm/cpu.h) keeps what Unicorn's API does not reach, or reaches slowly, and
 * what the files of this directory offer.
 *
 * Unicorn executes, walks page tables, and works out syndrome and fault address; it does not take exceptions: its hook for
 * interrupts is called instead (exceptions.c).
 */
#ifndef KOBOX_ARM64_CPU_H
#define KOBOX_ARM64_CPU_H

#include "../machine.h"

#include <unicorn/arm64.h>

/* Offsets in CPUARMState; an array of exception levels has EL1 at + 8. */
enum {
    AT_XREGS = 64, AT_PC = 320, AT_PSTATE = 328, AT_DAIF = 560, AT_ELR = 568, AT_SP_EL = 600, AT_SCTLR = 672, AT_TTBR0 = 768,
    AT_TTBR1 = 800, AT_ESR = 984, AT_FAR = 1048, AT_VBAR = 1216, AT_SYNDROME = 3024, AT_VADDRESS = 3032,
};
enum { EL1 = 8, SP = 31 };
enum { PSTATE_SP = 1, PSTATE_EL = 12, PSTATE_F = 0x40, PSTATE_I = 0x80, PSTATE_PAN = 1 << 22, PSTATE_EL1H_MASKED = 0x3C5 };
#define SCTLR_M 1ull         /* paging is on */
#define SCTLR_SPAN (1ull << 23)
#define TABLE 0x0000FFFFFFFFF000ull /* the address in a descriptor, and in TTBR0_EL1 without its ASID */
#define NS_PER_TICK 16       /* of the counter: 62.5 MHz */
#define HYPERCALL 0xD44D6DE0u /* hlt #0x6b6f: undefined without a debugger */

static inline uint64_t *at64(uint8_t *state, size_t at) { return (uint64_t *)(state + at); }
static inline uint32_t *at32(uint8_t *state, size_t at) { return (uint32_t *)(state + at); }
static inline uint64_t live64(const struct machine *m, size_t at) { return *(const uint64_t *)(m->cpu + at); }
static inline uint64_t live_reg(const struct machine *m, unsigned n) { return live64(m, AT_XREGS + 8 * (size_t)n); }

static inline uint64_t address_space(const struct machine *m) { return live64(m, AT_TTBR0 + EL1) & TABLE; }
/* Interrupts are accepted again, maybe for one block only, as in Linux's idle loop. */
static inline bool opens_to_interrupt(const struct machine *m) { return !(live64(m, AT_DAIF) & PSTATE_I); }
/* Software says by IC IVAU that code has changed (system_registers.c): nothing has to be guessed from where it runs. */
static inline bool is_module_code(uint64_t va) { (void)va; return false; }
static inline bool is_program_code(uint64_t va) { (void)va; return false; }
static inline uint64_t state_pc(const uint8_t *state) { return *(const uint64_t *)(state + AT_PC); }

/* The arguments of a function of the kernel (AAPCS64), the first of them 0. */
static inline uint64_t live_argument(const struct machine *m, unsigned n) { return n < 8 ? live_reg(m, n) : 0; }

/* ---- cpu_state.c ------------------------------------------------------------------------------------------------- */
bool open_cpu(struct machine *m);
bool calibrate(struct machine *m);
void env_load(struct machine *m);
void env_store(struct machine *m);
uint32_t pstate(const struct machine *m);
void set_pstate(struct machine *m, uint32_t value);
void write_system(struct machine *m, int op0, int op1, int crn, int crm, int op2, uint64_t value);
uint64_t read_system(const struct machine *m, int op0, int op1, int crn, int crm, int op2);
/* Have Unicorn work out anew what it derives from the system registers. */
void refresh(struct machine *m);
/* Do `action` with paging off, and put the CPU back to what it was. */
void with_paging_off(struct machine *m, void (*action)(struct machine *m));
/* Do `action`, and put the CPU back to what it was. */
void with_cpu_kept(struct machine *m, void (*action)(struct machine *m));

/* ---- page_walk.c --------------------------------------------------------------------------------------------------- */
enum access { READ, WRITE };
uint64_t walk(const struct machine *m, uint64_t space, uint64_t va, enum access access);
bool copy_virtual(struct machine *m, uint64_t space, uint64_t va, void *data, uint64_t n, bool write);

/* ---- exceptions.c, hypercall.c, system_registers.c: the hooks on the CPU --------------------------------------------- */
bool hook_cpu(struct machine *m);
void enter_kernel(struct machine *m, unsigned vector);
void on_exception(uc_engine *uc, uint32_t number, void *user);
bool is_hypercall(struct machine *m, uint64_t at);
bool hook_system_registers(struct machine *m);
bool leave_function(struct machine *m, uint64_t value);

/* One CPU so far: none is started later (cpus.c). */
static inline void keep_reset_state(struct machine *m) { (void)m; }

/* There are no string instructions whose time has to be told. */
static inline void run_string_instruction(struct machine *m, uint64_t address) { (void)m, (void)address; }

/* Hardware breakpoints are x86-64's so far (x86_64/debug_registers.c): here the registers keep what is written. */
static inline bool breakpoints_changed(const struct machine *m) { (void)m; return false; }
static inline bool change_breakpoints(struct machine *m) { (void)m; return false; }

/* ---- gic.c, timer.c, pl011.c ------------------------------------------------------------------------------------------- */
enum { IRQ_TIMER = 27, IRQ_UART = 33, IRQ_DEVICES = 48 };
void gic_line(struct machine *m, unsigned line, bool level);
void gic_pulse(struct machine *m, unsigned line);
int gic_pending(const struct machine *m);
uint64_t gic_distributor_read(uc_engine *uc, uint64_t at, unsigned size, void *user);
void gic_distributor_write(uc_engine *uc, uint64_t at, unsigned size, uint64_t value, void *user);
uint64_t gic_interface_read(uc_engine *uc, uint64_t at, unsigned size, void *user);
void gic_interface_write(uc_engine *uc, uint64_t at, unsigned size, uint64_t value, void *user);

void timer_update(struct machine *m);
uint64_t timer_next_due(const struct machine *m); /* ~0: never */

void pl011_reset(struct pl011 *u);
uint64_t pl011_read(uc_engine *uc, uint64_t at, unsigned size, void *user);
void pl011_write(uc_engine *uc, uint64_t at, unsigned size, uint64_t value, void *user);

#endif
