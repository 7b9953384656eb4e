/*
 * What one instruction does with data: which operands it reads, what it makes of them, where that goes. Enough of it to follow a
 * number through compiled kernel code (x86_64/dataflow.c, arm64/dataflow.c); what is not known there is said to make something
 * new.
 */
#ifndef KOBOX_DATAFLOW_H
#define KOBOX_DATAFLOW_H

#include <stdbool.h>
#include <stdint.h>

struct machine;

/* Up to DATA_CONDITION these are what kobox/machine/taint.py knows as operations. */
enum data_op {
    DATA_READ, DATA_MOVE, DATA_ADD, DATA_SUB, DATA_AND, DATA_OR, DATA_XOR, DATA_SHL, DATA_SHR, DATA_SAR, DATA_ROL, DATA_ROR,
    DATA_MUL, DATA_NOT, DATA_NEG, DATA_SWAP, DATA_ZERO_EXTEND, DATA_SIGN_EXTEND, DATA_INSERT, DATA_CONDITION,
    DATA_NEW,      /* `kills` hold something new */
    DATA_COMPARE,  /* as DATA_SUB, DATA_AND, and a single bit of the first operand; only flags come of it */
    DATA_TEST,
    DATA_BIT,
    DATA_SET,      /* 1 or 0 by a condition */
    DATA_CHOOSE,   /* a move that depends on a condition */
    DATA_BRANCH,
    DATA_CALL,
    DATA_PUSH,
    DATA_POP,
    DATA_EXCHANGE,
    DATA_COPY,     /* MOVS: `size` bytes from [RSI] to [RDI], RCX times when `number` is 1 */
    DATA_ADD_CARRY, DATA_SUB_CARRY, /* ADC and SBB */
};
enum place { PLACE_NONE /* zero, where it is read */, PLACE_REG, PLACE_HIGH /* AH, CH, DH, BH */, PLACE_MEMORY, PLACE_NUMBER };
struct data_operand { uint8_t place, reg; };
/* What is done with a number before or after the operation itself: `op` by `number`; DATA_READ: nothing. */
struct data_step { uint8_t op; uint64_t number; };

struct data_insn {
    uint8_t op, size, from, length; /* sizes in bytes: of the operation, of what is extended, of the instruction */
    uint8_t condition;              /* of SET, CHOOSE, BRANCH, as x86-64 numbers them: the low four bits of the opcode */
    bool sets_flags, keeps_flags;
    struct data_operand to, a, b;
    uint8_t base, index, scale;     /* of the operand in memory; NO_REGISTER for none */
    uint8_t index_size;             /* bytes of the index that count: 8, or 4; 4 + 16 with its sign */
    bool from_rip, per_cpu;
    int32_t displacement;
    uint64_t number;
    uint32_t kills;
    /* arm64 alone has the rest */
    uint8_t pair;                   /* the register of the second half of the operand in memory, or NO_REGISTER */
    uint8_t compares;               /* of a branch: DATA_COMPARE of `a` with zero, DATA_BIT of it; DATA_READ: by the flags */
    bool conditional;               /* a comparison that is made only if `condition` holds */
    struct data_step first, then;   /* of `b` before the operation; of what the operation gives */
};
enum { NO_REGISTER = 255, DATA_REGISTERS = 32 };

/* What the instruction of `length` bytes at `code` does. */
struct data_insn data_instruction(const uint8_t *code, uint8_t length);

/* Before a DATA_COPY: where to, where from, how many times. */
void copy_operands(const struct machine *m, uint64_t out[3]);

#endif
