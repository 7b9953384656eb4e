/*
 * What one x86-64 instruction does with data: which operands it reads, what it makes of them, where that goes. Enough of it to
 * follow a number through compiled kernel code (Intel SDM volume 2); what is not known here is said to make something new.
 */
#ifndef KOBOX_X86_64_DATAFLOW_H
#define KOBOX_X86_64_DATAFLOW_H

#include <stdbool.h>
#include <stdint.h>

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
enum place { PLACE_NONE, PLACE_REG, PLACE_HIGH /* AH, CH, DH, BH */, PLACE_MEMORY, PLACE_NUMBER };
struct data_operand { uint8_t place, reg; };

struct data_insn {
    uint8_t op, size, from, length; /* sizes in bytes: of the operation, of what is extended, of the instruction */
    uint8_t condition;              /* of SET, CHOOSE, BRANCH: the low four bits of the opcode */
    bool sets_flags, keeps_flags;
    struct data_operand to, a, b;
    uint8_t base, index, scale;     /* of the operand in memory; NO_REGISTER for none */
    bool from_rip, per_cpu;
    int32_t displacement;
    uint64_t number;
    uint16_t kills;
};
enum { NO_REGISTER = 16, CLOBBERED = 0x0FC7 /* what a function may leave changed: RAX RCX RDX RSI RDI R8-R11 */ };

struct data_insn data_instruction(const uint8_t *code, uint8_t length);

#endif
