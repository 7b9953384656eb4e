/* The devices that machines of AArch64 and ARMv7 share: the interrupt controller and the serial lines. */
#ifndef KOBOX_ARM_H
#define KOBOX_ARM_H

#include "../machine.h"

/* ---- gic.c, pl011.c ----------------------------------------------------------------------------------------------- */
enum { IRQ_TIMER = 27, IRQ_UART = 33, IRQ_DEVICES = 48 };
void gic_line(struct machine *m, unsigned line, bool level);
void gic_pulse(struct machine *m, unsigned line);
int gic_pending(const struct machine *m);
uint64_t gic_distributor_read(uc_engine *uc, uint64_t at, unsigned size, void *user);
void gic_distributor_write(uc_engine *uc, uint64_t at, unsigned size, uint64_t value, void *user);
uint64_t gic_interface_read(uc_engine *uc, uint64_t at, unsigned size, void *user);
void gic_interface_write(uc_engine *uc, uint64_t at, unsigned size, uint64_t value, void *user);

void pl011_reset(struct pl011 *u);
uint64_t pl011_read(uc_engine *uc, uint64_t at, unsigned size, void *user);
void pl011_write(uc_engine *uc, uint64_t at, unsigned size, uint64_t value, void *user);

#endif
