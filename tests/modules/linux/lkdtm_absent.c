// SPDX-License-Identifier: GPL-2.0
/* What a kernel exports only when lkdtm is configured. */
#include <asm/special_insns.h>

void native_write_cr4(unsigned long value)
{
}
