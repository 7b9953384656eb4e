/*
 * What one instruction does to memory, as each processor's decoder (x86_64/decode.c, arm64/decode.c) says it: enough for
 * compiled kernel code. Registers are numbers of the processor's own (its cpu.h); NO_REG stands for none.
 */
#ifndef KOBOX_INSN_H
#define KOBOX_INSN_H

#include <stdbool.h>
#include <stdint.h>

enum insn_op {
    OP_PLAIN,   /* no memory operand that needs a look (push, pop, call and ret use the stack as they must) */
    OP_MEMORY,  /* one operand: base + index * scale + disp */
    OP_BIT,     /* a bit of memory that a register selects, also beyond the operand's own word */
    OP_STRING,  /* a stretch whose length a register holds */
    OP_ENTER,   /* disp is subtracted from the stack pointer: the frame's room */
    OP_LEAVE,   /* disp is added to the stack pointer */
    OP_CALL,    /* call to disp from the end */
    OP_JUMP,    /* jump to disp from the end, or to where `base` says */
    OP_USER,    /* user space is read or written, which the kernel means to do */
};
enum { INSN_READ = 1, INSN_WRITE = 2, INSN_RIP = 4, INSN_GS = 8, INSN_REP = 16, INSN_TRUSTED = 32, INSN_SEEN = 128 };
/* What an instruction does with the flags, as far as it matters: compares, jumps by them (or by the registers `compared`),
 * leaves them alone. */
enum { FLAGS_OTHER, FLAGS_COMPARED, FLAGS_JUMP, FLAGS_KEPT };
enum { NO_REG = 64 };

/* What becomes of the pointer in `dest`: nothing, a copy of that in `source`, one that is made of base, index and disp, the
 * same moved by `disp`, the same moved by what `source` holds, the address that was relocated into the instruction. */
enum { POINTER_SAME, POINTER_COPY, POINTER_MADE, POINTER_STEP, POINTER_MOVE, POINTER_CONSTANT };
/* What an instruction puts into `dest`: something new (or nothing), what `source` holds, what it reads from memory; or it
 * puts all of `source`, or, without one, the constant of 32 bits at its end, into memory. */
enum { VALUE_NEW, VALUE_COPIED, VALUE_LOADED, VALUE_STORED };

typedef uint32_t reg_set; /* a bit for each register */

struct insn {
    uint8_t op, flags, base, index, scale, size, length;
    uint8_t extra;    /* OP_BIT: the register; OP_STRING: the opcode; OP_MEMORY: where in the instruction its disp of 32 bits
                       * stands, or 0 */
    int32_t disp;
    uint32_t bound;   /* for watch/: 1 + the number of the object that `disp` points into */
    reg_set kills;    /* the registers that hold something new afterwards */
    uint8_t pointer, dest, source, value;
    uint32_t target;  /* for watch/: as `bound`, of a constant that is stored, or of the address that is made */
    uint8_t of_flags; /* FLAGS_… */
    uint8_t second;   /* the register that goes with `dest` or `source`, in the second half of the operand; or NO_REG */
    int16_t step;     /* what is added to `base`: before the access, if `disp` is as much, else after it */
    reg_set compared; /* registers whose values the flags tell of, or the jump follows */
};

/* Decode the instruction of `length` bytes (1 to 15, and never less than it has) at `code`, which has DECODE_BYTES bytes. */
#define DECODE_BYTES 32
struct insn decode_instruction(const uint8_t *code, uint8_t length);

/* How many instructions `size` bytes of code are. */
uint32_t count_instructions(const uint8_t *code, uint32_t size);

#endif
