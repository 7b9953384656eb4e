/* Instructions of the kernel are four bytes long. */
#include "cpu.h"

uint32_t count_instructions(const uint8_t *code, uint32_t size) { return (void)code, size / 4; }
