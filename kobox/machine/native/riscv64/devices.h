/* The devices of the riscv64 machine as plain data (riscv64/plic.c, riscv64/sbi.c, uart.c). */
#ifndef KOBOX_RISCV64_DEVICES_H
#define KOBOX_RISCV64_DEVICES_H

#define PLIC_SOURCES 64
struct plic {
    uint32_t priority[PLIC_SOURCES], threshold;
    uint64_t level, latched, claimed, enabled; /* a bit for each source */
};
struct devices {
    uint64_t time; /* virtual nanoseconds since power on, at the last sync_time() */
    int64_t busy;  /* blocks since all CPUs waited, or a program made a system call */
    struct plic plic;
    struct uart uart[2];
    uint64_t timer; /* when the timer of SBI is due, in ticks; ~0: never */
    uint64_t epoch;  /* seconds since 1970 at power on */
    uint64_t jitter; /* state of the generator behind the cost of reading the time */
    uint64_t exceptions[32], interrupts, syscalls;
};

#endif
