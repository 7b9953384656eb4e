/*
 * How one x86-64 instruction is put together: the part of the decoder that all of it rests on.
 *
 *     [prefixes] [REX] opcode [ModRM [SIB] [displacement]] [immediate]
 *
 * Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, chapter 2 and appendix A (opcode maps).
 * It is made for what compilers write into kernel code.
 */
#ifndef KOBOX_X86_64_ENCODING_H
#define KOBOX_X86_64_ENCODING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PREFIX_66 = 1, PREFIX_67 = 2, PREFIX_F2 = 4, PREFIX_F3 = 8, PREFIX_FS = 16, PREFIX_GS = 32 };
/* The opcode's map: of one byte, 0F, 0F 38, 0F 3A; VEX and EVEX prefixes name theirs by the same numbers. */
enum { MAP_1 = 0, MAP_0F = 1, MAP_0F38 = 2, MAP_0F3A = 3 };
enum { LONGEST_INSTRUCTION = 15 };

struct encoding {
    uint8_t length;       /* 0: no instruction, or not all of it is there */
    uint8_t prefixes, rex, map, opcode;
    uint8_t vector;       /* whether it has a VEX or EVEX prefix */
    uint8_t modrm_at;     /* where ModRM stands, or 0 for none */
    uint8_t operand;      /* how many bytes ModRM, SIB and displacement take */
    uint8_t immediate_at; /* where the immediate stands */
    uint8_t immediate;    /* how many bytes it has, or 0 for none */
    uint8_t reg;          /* the register field of ModRM */
    uint8_t memory;       /* whether ModRM names memory */
};

/* Take apart the instruction at `code`, which has `room` bytes. */
struct encoding instruction_encoding(const uint8_t *code, size_t room);

#endif
