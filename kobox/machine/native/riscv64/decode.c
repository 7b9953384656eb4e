/* Instructions of two bytes and of four (RISC-V Unprivileged ISA, "Expanded Instruction-Length Encoding"). */
#include "cpu.h"

uint32_t count_instructions(const uint8_t *code, uint32_t size)
{
    uint32_t count = 0;
    for (uint32_t at = 0; at < size; at += (code[at] & 3) == 3 ? 4 : 2)
        count++;
    return count;
}
