/*
 * The decoder: A64 instructions of compiled kernel code (Arm Architecture Reference Manual, "A64 Instruction Set Encoding").
 * Each is a word of 32 bits; bits 28 to 25 tell which of the functions below knows it.
 */
#include "cpu.h"

enum { ZERO = 31 }; /* the number of XZR, where it does not mean SP */

static uint32_t field(uint32_t word, unsigned low, unsigned bits) { return word >> low & ((1u << bits) - 1); }

static int32_t signed_field(uint32_t word, unsigned low, unsigned bits)
{
    uint32_t value = field(word, low, bits), sign = 1u << (bits - 1);
    return (int32_t)((value ^ sign) - sign);
}

static reg_set one(unsigned reg) { return reg == ZERO ? 0 : 1u << reg; }
static uint8_t or_none(unsigned reg) { return reg == ZERO ? NO_REG : (uint8_t)reg; }

/* ---- loads and stores ------------------------------------------------------------------------------------------------- */
/* A memory operand at Rn + disp. */
static void operand_at(struct insn *i, uint32_t word, uint8_t access, uint32_t size, int32_t disp)
{
    i->op = OP_MEMORY;
    i->flags |= access;
    i->base = (uint8_t)field(word, 5, 5);
    i->size = (uint8_t)size;
    i->disp = disp;
}

/* General registers are loaded or stored: Rt, and `second` if there is one. */
static void transfer(struct insn *i, uint32_t word, bool loads, unsigned second)
{
    unsigned rt = field(word, 0, 5);
    if (loads) {
        i->kills |= one(rt) | (second == NO_REG ? 0 : one(second));
        i->value = VALUE_LOADED;
        i->dest = or_none(rt);
    } else if (i->size == (second == NO_REG ? 8 : 16)) {
        i->value = VALUE_STORED;
        i->source = or_none(rt);
    } else {
        i->source = or_none(rt);
    }
    i->second = second == NO_REG ? NO_REG : or_none(second);
}

/* The base is changed too: by `step`, before the access (pre-indexed) or after it. */
static void write_back(struct insn *i, int32_t step, bool before)
{
    i->step = (int16_t)step;
    if (!before)
        i->disp = 0;
}

/* LD1 to LD4, ST1 to ST4. */
static void decode_structures(struct insn *i, uint32_t word)
{
    static const uint8_t registers[16] = {4, 0, 4, 0, 3, 0, 3, 1, 2, 0, 2};
    uint32_t q = field(word, 30, 1), size;
    if (!field(word, 24, 1)) {
        size = registers[field(word, 12, 4)] * (q ? 16u : 8u);
    } else {
        uint32_t scale = field(word, 14, 2), count = (field(word, 13, 1) << 1 | field(word, 21, 1)) + 1;
        uint32_t bytes = scale == 3 ? 1u << field(word, 10, 2) : scale == 2 && field(word, 10, 1) ? 8 : 1u << scale;
        size = count * bytes;
    }
    operand_at(i, word, field(word, 22, 1) ? INSN_READ : INSN_WRITE, size, 0);
    if (field(word, 23, 1)) {
        if (field(word, 16, 5) == ZERO)
            write_back(i, (int32_t)size, false);
        else
            i->kills |= 1u << i->base;
    }
}

/* LDXR, STXR, LDAR, STLR, CAS and kin: the address is Rn alone. */
static void decode_exclusive(struct insn *i, uint32_t word)
{
    uint32_t size = field(word, 30, 2), ordered = field(word, 23, 1), loads = field(word, 22, 1), pair = field(word, 21, 1);
    unsigned status = field(word, 16, 5), second = field(word, 10, 5);
    if (!ordered && pair && size < 2) { /* CASP */
        operand_at(i, word, INSN_READ | INSN_WRITE, size ? 16 : 8, 0);
        i->kills = one(status) | one(status + 1);
    } else if (ordered && pair) { /* CAS */
        operand_at(i, word, INSN_READ | INSN_WRITE, 1u << size, 0);
        i->kills = one(status);
    } else {
        operand_at(i, word, loads ? INSN_READ : INSN_WRITE, (pair ? 2u : 1u) << size, 0);
        transfer(i, word, loads, pair ? second : NO_REG);
        i->kills |= ordered || loads ? 0 : one(status);
    }
}

static void decode_pair(struct insn *i, uint32_t word)
{
    uint32_t opc = field(word, 30, 2), vector = field(word, 26, 1), mode = field(word, 23, 2), loads = field(word, 22, 1);
    uint32_t bytes = vector ? 4u << opc : opc == 2 ? 8 : 4;
    int32_t scale = !vector && opc == 1 && !loads ? 16 : (int32_t)bytes, disp = signed_field(word, 15, 7) * scale; /* STGP */
    operand_at(i, word, loads ? INSN_READ : INSN_WRITE, scale == 16 && !vector ? 16 : 2 * bytes, disp);
    if (!vector)
        transfer(i, word, loads, field(word, 10, 5));
    if (mode & 1)
        write_back(i, disp, mode == 3);
}

/* LDADD, LDSET, SWP and kin; LDAPR. */
static void decode_atomic(struct insn *i, uint32_t word)
{
    uint32_t size = 1u << field(word, 30, 2);
    bool only_loads = field(word, 12, 4) == 12;
    operand_at(i, word, only_loads ? INSN_READ : INSN_READ | INSN_WRITE, size, 0);
    i->kills = one(field(word, 0, 5));
}

/* One register: an unsigned offset; a signed one, which may step; a register; or user space's memory (LDTR, STTR). */
static void decode_single(struct insn *i, uint32_t word)
{
    uint32_t size = field(word, 30, 2), vector = field(word, 26, 1), opc = field(word, 22, 2), mode = field(word, 10, 2);
    uint32_t shift = vector ? field(word, 23, 1) << 2 | size : size;
    bool loads = vector ? opc & 1 : opc != 0, indexed = !field(word, 24, 1) && field(word, 21, 1);
    if (!vector && size == 3 && opc == 2 && (field(word, 24, 1) || mode == (indexed ? 2 : 0))) /* PRFM */
        return;
    if (indexed && mode != 2) {
        if (!mode)
            decode_atomic(i, word);
        else if (size == 3 && !vector) /* LDRAA, LDRAB */
            operand_at(i, word, INSN_READ, 8, signed_field(field(word, 22, 1) << 9 | field(word, 12, 9), 0, 10) * 8), transfer(i, word, true, NO_REG);
        return;
    }
    int32_t disp = indexed ? 0 : field(word, 24, 1) ? (int32_t)(field(word, 10, 12) << shift) : signed_field(word, 12, 9);
    operand_at(i, word, loads ? INSN_READ : INSN_WRITE, 1u << shift, disp);
    if (!vector)
        transfer(i, word, loads, NO_REG);
    if (indexed) {
        i->index = or_none(field(word, 16, 5));
        i->extra = (uint8_t)field(word, 13, 3);
        i->scale = (uint8_t)(field(word, 12, 1) ? 1u << shift : 1);
    } else if (!field(word, 24, 1)) {
        if (mode & 1)
            write_back(i, disp, mode == 3);
        else if (mode == 2)
            i->op = OP_USER;
    }
}

static void decode_memory(struct insn *i, uint32_t word)
{
    if ((word & 0xBE000000) == 0x0C000000)
        decode_structures(i, word);
    else if ((word & 0x3F000000) == 0x08000000)
        decode_exclusive(i, word);
    else if ((word & 0x3F200C00) == 0x19000000) { /* LDAPUR, STLUR */
        uint32_t opc = field(word, 22, 2);
        operand_at(i, word, opc ? INSN_READ : INSN_WRITE, 1u << field(word, 30, 2), signed_field(word, 12, 9));
        transfer(i, word, opc, NO_REG);
    } else if ((word & 0x3B000000) == 0x18000000) /* a literal of the code itself */
        i->kills = field(word, 26, 1) || field(word, 30, 2) == 3 ? 0 : one(field(word, 0, 5));
    else if ((word & 0x3A000000) == 0x28000000)
        decode_pair(i, word);
    else if ((word & 0x3A000000) == 0x38000000)
        decode_single(i, word);
}

/* ---- registers ---------------------------------------------------------------------------------------------------------- */
static void compare(struct insn *i, reg_set compared)
{
    i->of_flags = FLAGS_COMPARED;
    i->compared = compared;
}

/* ADD and SUB of a number: of the stack pointer, of a pointer, or of anything. */
static void decode_add_number(struct insn *i, uint32_t word)
{
    unsigned rd = field(word, 0, 5), rn = field(word, 5, 5);
    int32_t number = (int32_t)(field(word, 10, 12) << (field(word, 22, 1) ? 12 : 0));
    bool subtracts = field(word, 30, 1), wide = field(word, 31, 1);
    if (field(word, 29, 1)) {
        i->kills = one(rd);
        compare(i, one(rn)); /* of SP: of nothing that is followed */
        return;
    }
    i->dest = (uint8_t)rd;
    i->disp = subtracts ? -number : number;
    if (rd == R_SP && rn == R_SP) {
        i->op = subtracts ? OP_ENTER : OP_LEAVE;
        i->disp = number;
    } else if (!wide || rd == R_SP) {
        i->kills = 1u << rd;
    } else if (rd == rn) {
        i->pointer = POINTER_STEP;
    } else {
        i->kills = 1u << rd;
        i->pointer = rd == R_FRAME && rn == R_SP ? POINTER_SAME : POINTER_MADE; /* of no variable, but the frame */
        i->base = (uint8_t)rn;
        if (!number) {
            i->value = VALUE_COPIED;
            i->source = (uint8_t)rn;
        }
    }
}

static void decode_numbers(struct insn *i, uint32_t word)
{
    unsigned rd = field(word, 0, 5), rn = field(word, 5, 5), kind = field(word, 23, 3);
    i->kills = one(rd);
    switch (kind) {
    case 2:
        i->kills = 0;
        decode_add_number(i, word);
        break;
    case 4: /* AND, ORR, EOR, ANDS */
        if (field(word, 29, 2) == 3)
            compare(i, one(rn));
        else if (rd == R_SP)
            i->kills = 1u << R_SP;
        if (!field(word, 29, 2) && !field(word, 16, 6) && (field(word, 10, 6) == 7 || field(word, 10, 6) == 15)) {
            i->value = VALUE_COPIED; /* the lowest byte, or two */
            i->dest = (uint8_t)rd, i->source = or_none(rn);
        }
        break;
    case 6: /* SBFM, BFM, UBFM: UXTB, SXTH, SXTW … */
        if (field(word, 29, 2) != 1 && !field(word, 16, 6) && field(word, 10, 6) % 8 == 7) {
            i->value = VALUE_COPIED;
            i->dest = (uint8_t)rd, i->source = or_none(rn);
        }
        break;
    default: break; /* ADR, ADRP, MOVZ, MOVN, MOVK, EXTR */
    }
}

/* ADD and SUB of a register: a pointer and an index, in either order. */
static void decode_add_register(struct insn *i, uint32_t word)
{
    unsigned rd = field(word, 0, 5), rn = field(word, 5, 5), rm = field(word, 16, 5);
    bool extended = field(word, 21, 1), subtracts = field(word, 30, 1), whole = extended ? field(word, 10, 6) == 24 : !field(word, 10, 6);
    if (field(word, 29, 1)) {
        i->kills = one(rd);
        compare(i, (extended && rn == R_SP ? 0 : one(rn)) | one(rm));
        return;
    }
    i->dest = (uint8_t)rd;
    i->kills = extended ? 1u << rd : one(rd);
    if (!field(word, 31, 1) || !i->kills || (rn == ZERO && !extended) || rd == R_SP)
        return;
    if (rd == rn) {
        i->kills = 0;
        i->pointer = POINTER_MOVE;
        i->source = subtracts || !whole ? NO_REG : or_none(rm);
        return;
    }
    i->pointer = POINTER_MADE;
    i->base = (uint8_t)rn;
    i->index = or_none(rm);
    i->scale = subtracts || !whole ? 2 : 1; /* 1: it may be the pointer */
}

static void decode_registers(struct insn *i, uint32_t word)
{
    unsigned rd = field(word, 0, 5), rn = field(word, 5, 5), rm = field(word, 16, 5), kind = field(word, 24, 5);
    i->kills = one(rd);
    if (kind == 10) { /* AND, ORR, EOR, ANDS and kin */
        if (field(word, 29, 2) == 3)
            compare(i, one(rn) | one(rm));
        else if (field(word, 29, 2) == 1 && rn == ZERO && !field(word, 10, 6) && !field(word, 21, 3)) { /* MOV */
            i->dest = (uint8_t)rd, i->source = or_none(rm);
            if (rm != ZERO && rd != ZERO) {
                i->value = VALUE_COPIED;
                i->pointer = field(word, 31, 1) ? POINTER_COPY : POINTER_SAME;
            }
        }
    } else if (kind == 11) {
        decode_add_register(i, word);
    } else if (kind == 26 && field(word, 21, 3) != 6 && field(word, 21, 3) != 4) { /* ADC, CCMP; not CSEL, LSLV, … */
        i->of_flags = field(word, 21, 3) == 2 || field(word, 29, 1) ? FLAGS_OTHER : FLAGS_KEPT;
        i->kills = field(word, 21, 3) == 2 ? 0 : i->kills;
    }
}

/* ---- branches and the system --------------------------------------------------------------------------------------------- */
static void decode_branch(struct insn *i, uint32_t word)
{
    unsigned rt = field(word, 0, 5);
    if ((word & 0x7C000000) == 0x14000000) { /* B, BL */
        i->op = word >> 31 ? OP_CALL : OP_JUMP;
        i->kills = word >> 31 ? CALLER_SAVED : 0;
        i->disp = signed_field(word, 0, 26) * 4 - 4;
        i->of_flags = word >> 31 ? FLAGS_OTHER : FLAGS_KEPT;
    } else if ((word & 0x7E000000) == 0x34000000 || (word & 0x7E000000) == 0x36000000) { /* CBZ, TBZ and their opposites */
        i->of_flags = FLAGS_JUMP;
        i->compared = one(rt);
        if (word & 1u << 25)
            i->extra = (uint8_t)(field(word, 31, 1) << 5 | field(word, 19, 5));
    } else if ((word & 0xFF000000) == 0x54000000) { /* B.cond */
        i->of_flags = FLAGS_JUMP;
    } else if ((word & 0xFE000000) == 0xD6000000) { /* BR, BLR, RET, ERET */
        uint32_t kind = field(word, 21, 4);
        i->of_flags = FLAGS_OTHER;
        if (kind % 8 == 1) {
            i->op = OP_CALL;
            i->kills = CALLER_SAVED;
        } else if (kind % 8 == 0) {
            i->op = OP_JUMP;
            i->base = (uint8_t)field(word, 5, 5);
        }
    } else if ((word & 0xFFF00000) == 0xD5300000 || (word & 0xFFF80000) == 0xD5280000) { /* MRS, SYSL */
        i->kills = one(rt);
    } else if ((word & 0xFFF00000) == 0xD5100000) { /* MSR */
        i->of_flags = FLAGS_OTHER;
    } else if ((word & 0xFF000000) == 0xD4000000) {
        i->of_flags = FLAGS_OTHER;
    }
}

uint32_t count_instructions(const uint8_t *code, uint32_t size) { (void)code; return size / 4; }

struct insn decode_instruction(const uint8_t *code, uint8_t length)
{
    uint32_t word;
    memcpy(&word, code, sizeof word);
    struct insn i = {.op = OP_PLAIN, .length = length, .base = NO_REG, .index = NO_REG, .scale = 1, .source = NO_REG,
                     .second = NO_REG, .of_flags = FLAGS_KEPT};
    switch (field(word, 25, 4)) {
    case 8: case 9: decode_numbers(&i, word); break;
    case 10: case 11: decode_branch(&i, word); break;
    case 4: case 6: case 12: case 14: decode_memory(&i, word); break;
    case 5: case 13: decode_registers(&i, word); break;
    case 7: case 15: /* vectors: some move a number to a general register, some compare */
        i.kills = one(field(word, 0, 5));
        i.of_flags = (word & 0xFF200C00) == 0x1E200000 ? FLAGS_OTHER : FLAGS_KEPT;
        break;
    default: break;
    }
    return i;
}

/* What the decoder makes of an instruction. -1: `size` is not that of a struct insn, or `length` is no instruction's. */
EXPORT int kobox_decode(const uint8_t *code, unsigned length, struct insn *out, size_t size)
{
    if (size != sizeof *out || length != 4)
        return -1;
    *out = decode_instruction(code, 4);
    return 0;
}
