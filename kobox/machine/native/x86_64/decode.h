/*
 * What one x86-64 instruction does to memory: enough of a decoder for compiled kernel code (Intel SDM volume 2, appendix A).
 * Instructions that a processor without AVX does not have, and those that only system code uses, are taken for ones that
 * touch no memory.
 */
#ifndef KOBOX_X86_64_DECODE_H
#define KOBOX_X86_64_DECODE_H

#include <stdbool.h>
#include <stdint.h>

enum insn_op {
    OP_PLAIN,   /* no memory operand that needs a look (push, pop, call and ret use the stack as they must) */
    OP_MEMORY,  /* one operand: base + index * scale + disp */
    OP_BIT,     /* bt and kin with a register: the register selects the word */
    OP_STRING,  /* movs, stos, lods, scas, cmps, ins, outs */
    OP_ENTER,   /* sub $disp, %rsp: the frame's room */
    OP_LEAVE,   /* add $disp, %rsp */
    OP_CALL,    /* call to disp from the end */
    OP_JUMP,    /* jmp to disp from the end */
};
enum { INSN_READ = 1, INSN_WRITE = 2, INSN_RIP = 4, INSN_GS = 8, INSN_REP = 16, INSN_TRUSTED = 32, INSN_SEEN = 128 };
/* What an instruction does with the flags, as far as it matters: compares, jumps by them, leaves them alone. */
enum { FLAGS_OTHER, FLAGS_COMPARED, FLAGS_JUMP, FLAGS_KEPT };
enum { NO_REG = 16 };

/* What becomes of the pointer in `dest`: nothing, a copy of that in `source`, one that is made of base, index and disp, the
 * same moved by `disp`, the same moved by what `source` holds, the address that was relocated into the instruction. */
enum { POINTER_SAME, POINTER_COPY, POINTER_MADE, POINTER_STEP, POINTER_MOVE, POINTER_CONSTANT };
/* What an instruction puts into `dest`: something new (or nothing), what `source` holds, what it reads from memory; or it
 * puts all of `source`, or, without one, the constant of 32 bits at its end, into memory. */
enum { VALUE_NEW, VALUE_COPIED, VALUE_LOADED, VALUE_STORED };
#define CALLER_SAVED 0x0FC7u /* RAX RCX RDX RSI RDI R8-R11: nobody knows them after a call */

struct insn {
    uint8_t op, flags, base, index, scale, size, length;
    uint8_t extra;   /* OP_BIT: the register; OP_STRING: the opcode; OP_MEMORY: where in the instruction its disp of 32 bits
                      * stands, or 0 */
    int32_t disp;
    uint32_t bound;  /* for watch/: 1 + the number of the object that `disp` points into */
    uint16_t kills;  /* the registers that hold something new afterwards, a bit each */
    uint8_t pointer, dest, source, value;
    uint32_t target; /* for watch/: as `bound`, of a constant that is stored */
    uint8_t of_flags; /* FLAGS_… */
};

/* Decode the instruction of `length` bytes (1 to 15, and never less than it has) at `code`, which has DECODE_BYTES bytes. */
#define DECODE_BYTES 32
struct insn decode_instruction(const uint8_t *code, uint8_t length);
uint8_t what_of_flags(const uint8_t *code, uint8_t length);

#endif
