/* The devices of the machines of AArch64 and ARMv7 as plain data (gic.c, pl011.c, the timers). */
#ifndef KOBOX_ARM_DEVICES_H
#define KOBOX_ARM_DEVICES_H

#include <stdint.h>

#define GIC_LINES 96
struct gic {
    uint32_t distributor, interface, priority_mask, binary_point;
    uint32_t enabled[GIC_LINES / 32], latched[GIC_LINES / 32], active[GIC_LINES / 32], level[GIC_LINES / 32];
    uint32_t config[GIC_LINES / 16];
    uint8_t priority[GIC_LINES];
};
struct pl011 {
    uint32_t integer_divisor, fraction_divisor, line_control, control, mask, raw, fifo_level;
    uint8_t rx[1024];
    uint32_t rx_head, rx_count;
};
/* One of two timers: it counts down from `load` since `start`, in ticks. */
struct sp804 { uint32_t load, control, raised; uint64_t start; };
struct devices {
    uint64_t time; /* virtual nanoseconds since power on, at the last sync_time() */
    int64_t busy; /* blocks since all CPUs waited, or a program made a system call */
    struct gic gic;
    struct pl011 uart[2];
#ifdef KOBOX_ARMV7
    struct sp804 timer[2];
#else
    uint64_t timer_value, timer_control; /* CNTV_CVAL_EL0, CNTV_CTL_EL0 */
#endif
    uint64_t epoch;                      /* seconds since 1970 at power on */
    uint64_t jitter;                     /* state of the generator behind the cost of reading the counter */
    uint64_t exceptions[32], interrupts, syscalls;
};

#endif
