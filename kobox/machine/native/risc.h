/* What risc.c and board.c offer to a processor's directory, and what they want of it. */
#ifndef KOBOX_RISC_H
#define KOBOX_RISC_H

#include "machine.h"

/* ---- of the processor's own ------------------------------------------------------------------------------------------ */
enum access { READ, WRITE, WRITTEN, EXECUTE };
bool open_cpu(struct machine *m);
bool hook_cpu(struct machine *m);
/* Physical address of `va`, or -1; `space` is the table of the user's half. For WRITE its entry must allow it. */
uint64_t walk(const struct machine *m, uint64_t space, uint64_t va, enum access access);
/* Have Unicorn work out anew what it derives from the system registers. */
void refresh(struct machine *m);
/* Do `action` with paging off, and put the CPU back to what it was. */
void with_paging_off(struct machine *m, void (*action)(struct machine *m));
/* Inside a hook or not: go on at `pc`. */
void jump_to(struct machine *m, uint64_t pc);
/* Whether the registers that are reached directly are where they should be, if the CPU's state is at `env`. */
bool has_fields(struct machine *m, const uint8_t *env);

/* A stretch of physical addresses, and who answers there. */
#define MAX_REGIONS 4
struct region {
    uint64_t start, end;
    uc_cb_mmio_read_t read;
    uc_cb_mmio_write_t write;
};
/* The board's own devices, but for those that Python models; how many. */
size_t board_regions(struct region *out);
void board_line(struct machine *m, unsigned line, bool level);

/* ---- risc.c ------------------------------------------------------------------------------------------------------------ */
void env_load(struct machine *m);
void env_store(struct machine *m);
bool calibrate(struct machine *m);
void with_cpu_kept(struct machine *m, void (*action)(struct machine *m));
bool copy_virtual(struct machine *m, uint64_t space, uint64_t va, void *data, uint64_t n, bool write);
bool is_hypercall(struct machine *m, uint64_t at);
bool leave_function(struct machine *m, uint64_t value);
void restore_link(struct machine *m, uint64_t address);
void set_argument(struct machine *m, unsigned n, uint64_t value);
void enter_function(struct machine *m, uint64_t function, uint64_t sp, uint64_t site);

#endif
