/* The CPU of the machine that this core is built for: its state, its page tables, what hooks on it do. Each processor has a
 * directory, and offers the same names to the files above. */
#ifndef KOBOX_PROCESSOR_H
#define KOBOX_PROCESSOR_H

#if defined KOBOX_ARM64
#include "arm64/cpu.h"
#elif defined KOBOX_ARMV7
#include "armv7/cpu.h"
#elif defined KOBOX_RISCV64
#include "riscv64/cpu.h"
#else
#include "x86_64/cpu.h"
#endif

#endif
