/* What one A64 instruction does with data (Arm ARM, "A64 Instruction Set Encoding"): see taint/dataflow.h. */
#include "../taint/dataflow.h"

#include "cpu.h"

#include <string.h>

enum { NOTHING = 31 }; /* XZR, where the number does not mean SP */

static uint32_t field(uint32_t word, unsigned low, unsigned bits) { return word >> low & ((1u << bits) - 1); }

static int64_t signed_field(uint32_t word, unsigned low, unsigned bits)
{
    uint32_t value = field(word, low, bits), sign = 1u << (bits - 1);
    return (int64_t)(value ^ sign) - (int64_t)sign;
}

static struct data_operand reg_or_sp(unsigned n) { return (struct data_operand){PLACE_REG, (uint8_t)n}; }
static struct data_operand reg_or_zero(unsigned n) { return n == NOTHING ? (struct data_operand){0} : reg_or_sp(n); }
static const struct data_operand number = {PLACE_NUMBER, 0}, memory = {PLACE_MEMORY, 0};
static uint32_t killed(unsigned n) { return n == NOTHING ? 0 : 1u << n; }

/* Something new is in `rd`. */
static void make_new(struct data_insn *i, unsigned rd)
{
    i->op = DATA_NEW, i->kills |= killed(rd);
    i->to = i->a = i->b = (struct data_operand){0};
    i->first = i->then = (struct data_step){0};
}

/* A condition as x86-64 numbers it; 16: always. */
static uint8_t condition_of(unsigned cond)
{
    static const uint8_t by_number[16] = {4, 5, 3, 2, 8, 9, 0, 1, 7, 6, 13, 12, 15, 14, 16, 16};
    return by_number[cond];
}

/* ---- with a number ------------------------------------------------------------------------------------------------------- */
static void add_or_subtract(struct data_insn *i, uint32_t word, struct data_operand to, struct data_operand a, struct data_operand b)
{
    bool subtracts = field(word, 30, 1);
    i->op = subtracts ? DATA_SUB : DATA_ADD, i->to = to, i->a = a, i->b = b;
    i->sets_flags = field(word, 29, 1);
    if (i->sets_flags && to.place == PLACE_NONE && (subtracts || b.place == PLACE_NUMBER)) { /* CMP, CMN */
        i->op = DATA_COMPARE;
        i->number = subtracts ? i->number : 0 - i->number;
    } else if (subtracts && a.place == PLACE_NONE) { /* NEG */
        i->op = DATA_NEG, i->a = b, i->b = (struct data_operand){0};
        if (i->first.op != DATA_READ)
            make_new(i, to.reg);
    }
}

static void add_number(struct data_insn *i, uint32_t word)
{
    unsigned rd = field(word, 0, 5), rn = field(word, 5, 5);
    i->number = (uint64_t)field(word, 10, 12) << (field(word, 22, 1) ? 12 : 0);
    add_or_subtract(i, word, field(word, 29, 1) ? reg_or_zero(rd) : reg_or_sp(rd), reg_or_sp(rn), number);
    if (!i->number && !i->sets_flags && i->op == DATA_ADD)
        i->op = DATA_MOVE, i->b = (struct data_operand){0}; /* MOV to and from SP */
}

/* The number that N, immr and imms stand for (DecodeBitMasks()); 0: none. */
static uint64_t bit_mask(uint32_t word, unsigned bits)
{
    unsigned n = field(word, 22, 1), immr = field(word, 16, 6), imms = field(word, 10, 6), length = 6;
    unsigned inverted = n << 6 | (~imms & 0x3F);
    while (length && !(inverted >> length & 1))
        length--;
    if (!length)
        return 0;
    unsigned size = 1u << length, ones = (imms & (size - 1)) + 1, turn = immr & (size - 1);
    uint64_t all = size == 64 ? ~0ull : (1ull << size) - 1, part = ones >= 64 ? ~0ull : (1ull << ones) - 1, mask = 0;
    part = turn ? (part >> turn | part << (size - turn)) & all : part;
    for (unsigned at = 0; at < bits; at += size)
        mask |= part << at;
    return mask;
}

static void logical(struct data_insn *i, unsigned opc, struct data_operand to, struct data_operand a, struct data_operand b)
{
    static const uint8_t ops[] = {DATA_AND, DATA_OR, DATA_XOR, DATA_AND};
    i->op = ops[opc], i->to = to, i->a = a, i->b = b;
    i->sets_flags = opc == 3;
    if (opc == 3 && to.place == PLACE_NONE)
        i->op = DATA_TEST;
}

static void logical_number(struct data_insn *i, uint32_t word)
{
    unsigned opc = field(word, 29, 2), rd = field(word, 0, 5);
    i->number = bit_mask(word, 8u * i->size);
    logical(i, opc, opc == 3 ? reg_or_zero(rd) : reg_or_sp(rd), reg_or_zero(field(word, 5, 5)), number);
    if (i->op == DATA_OR && i->a.place == PLACE_NONE)
        i->op = DATA_MOVE, i->a = number, i->b = (struct data_operand){0};
}

static void move_wide(struct data_insn *i, uint32_t word)
{
    unsigned opc = field(word, 29, 2);
    if (opc == 3) { /* MOVK */
        make_new(i, field(word, 0, 5));
        return;
    }
    i->op = DATA_MOVE, i->to = reg_or_zero(field(word, 0, 5)), i->a = number;
    i->number = (uint64_t)field(word, 5, 16) << 16 * field(word, 21, 2);
    i->number = opc ? i->number : ~i->number;
}

/* UBFM, SBFM: shifts, extensions, and fields of bits. */
static void bit_field(struct data_insn *i, uint32_t word)
{
    unsigned opc = field(word, 29, 2), immr = field(word, 16, 6), imms = field(word, 10, 6), bits = 8u * i->size;
    i->to = reg_or_zero(field(word, 0, 5)), i->a = reg_or_zero(field(word, 5, 5)), i->b = number;
    uint64_t ones = imms >= 63 ? ~0ull : (1ull << (imms + 1)) - 1;
    if (opc == 1) { /* BFI, BFXIL */
        make_new(i, field(word, 0, 5));
    } else if (!immr && (imms == 7 || imms == 15 || imms == 31) && imms + 1 < bits) {
        i->op = opc ? DATA_ZERO_EXTEND : DATA_SIGN_EXTEND, i->from = (uint8_t)((imms + 1) / 8), i->b = (struct data_operand){0};
    } else if (imms == bits - 1) {
        i->op = opc ? DATA_SHR : DATA_SAR, i->number = immr;
    } else if (opc && imms + 1 == immr) {
        i->op = DATA_SHL, i->number = bits - immr;
    } else if (opc && imms >= immr) { /* UBFX */
        i->op = DATA_SHR, i->number = immr, i->then = (struct data_step){DATA_AND, ones >> immr};
    } else if (opc) { /* UBFIZ */
        i->op = DATA_AND, i->number = ones, i->then = (struct data_step){DATA_SHL, bits - immr};
    } else if (imms >= immr) { /* SBFX */
        i->op = DATA_SHL, i->number = bits - 1 - imms, i->then = (struct data_step){DATA_SAR, bits - 1 - imms + immr};
    } else {
        make_new(i, field(word, 0, 5));
    }
}

static void with_number(struct data_insn *i, uint32_t word)
{
    switch (field(word, 23, 3)) {
    case 2: add_number(i, word); break;
    case 4: logical_number(i, word); break;
    case 5: move_wide(i, word); break;
    case 6: bit_field(i, word); break;
    case 7:
        i->op = DATA_ROR, i->to = reg_or_zero(field(word, 0, 5)), i->a = reg_or_zero(field(word, 5, 5)), i->b = number;
        i->number = field(word, 10, 6);
        if (field(word, 16, 5) != field(word, 5, 5))
            make_new(i, field(word, 0, 5));
        break;
    default: make_new(i, field(word, 0, 5)); break; /* ADR, ADRP */
    }
}

/* ---- branches ------------------------------------------------------------------------------------------------------------- */
static void branch(struct data_insn *i, uint32_t word)
{
    if ((word & 0xFF000010) == 0x54000000) { /* B.cond */
        i->condition = condition_of(field(word, 0, 4));
        i->op = i->condition > 15 ? DATA_NEW : DATA_BRANCH;
    } else if ((word & 0x7E000000) == 0x34000000) { /* CBZ, CBNZ */
        i->op = DATA_BRANCH, i->compares = DATA_COMPARE, i->condition = field(word, 24, 1) ? 5 : 4;
        i->a = reg_or_zero(field(word, 0, 5));
    } else if ((word & 0x7E000000) == 0x36000000) { /* TBZ, TBNZ */
        i->op = DATA_BRANCH, i->compares = DATA_BIT, i->condition = field(word, 24, 1) ? 2 : 3, i->size = 8;
        i->a = reg_or_zero(field(word, 0, 5)), i->number = field(word, 31, 1) << 5 | field(word, 19, 5);
    } else if ((word & 0x7C000000) == 0x14000000) { /* B, as a function's last act, perhaps; BL */
        i->op = DATA_CALL, i->number = (uint64_t)(signed_field(word, 0, 26) * 4 - 4);
    } else if ((word & 0xFE000000) == 0xD6000000 && field(word, 21, 2) < 2) { /* BR, BLR; not RET */
        i->op = DATA_CALL;
    } else if ((word & 0xFFF00000) == 0xD5300000) { /* MRS */
        make_new(i, field(word, 0, 5));
    }
}

/* ---- loads and stores ------------------------------------------------------------------------------------------------------- */
static void transfer(struct data_insn *i, unsigned rt, unsigned size, bool loads, uint8_t extends, uint8_t to_size)
{
    i->to = loads ? reg_or_zero(rt) : memory, i->a = loads ? memory : reg_or_zero(rt);
    i->op = DATA_MOVE, i->size = (uint8_t)size;
    if (loads && size < to_size)
        i->op = extends, i->from = (uint8_t)size, i->size = to_size;
}

static void step_base(struct data_insn *i, bool before)
{
    i->kills |= 1u << i->base;
    if (!before)
        i->displacement = 0;
}

static void load_pair(struct data_insn *i, uint32_t word)
{
    unsigned opc = field(word, 30, 2), mode = field(word, 23, 2), loads = field(word, 22, 1), size = opc == 2 ? 8 : 4;
    if (field(word, 26, 1) || opc == 1) { /* of vector registers; LDPSW, STGP */
        i->kills |= field(word, 26, 1) || !loads ? 0 : killed(field(word, 0, 5)) | killed(field(word, 10, 5));
        i->kills |= mode & 1 ? 1u << field(word, 5, 5) : 0;
        return;
    }
    i->base = (uint8_t)field(word, 5, 5), i->displacement = (int32_t)(signed_field(word, 15, 7) * size);
    transfer(i, field(word, 0, 5), size, loads, DATA_MOVE, (uint8_t)size);
    i->pair = (uint8_t)field(word, 10, 5);
    if (mode & 1)
        step_base(i, mode == 3);
}

static void load_single(struct data_insn *i, uint32_t word)
{
    unsigned size = 1u << field(word, 30, 2), opc = field(word, 22, 2), mode = field(word, 10, 2), rt = field(word, 0, 5);
    bool by_register = !field(word, 24, 1) && field(word, 21, 1);
    if (by_register && mode != 2) { /* LDADD, SWP and kin */
        i->kills = killed(rt);
        return;
    }
    if (field(word, 26, 1) || (size == 8 && opc == 2)) /* of vector registers; PRFM */
        return;
    i->base = (uint8_t)field(word, 5, 5);
    if (by_register) {
        unsigned option = field(word, 13, 3);
        i->index = (uint8_t)field(word, 16, 5), i->scale = field(word, 12, 1) ? (uint8_t)size : 1;
        i->index = i->index == NOTHING ? NO_REGISTER : i->index;
        i->index_size = option == 2 ? 4 : option == 6 ? 4 + 16 : 8;
    } else {
        i->displacement = field(word, 24, 1) ? (int32_t)(field(word, 10, 12) * size) : (int32_t)signed_field(word, 12, 9);
    }
    transfer(i, rt, size, opc != 0, opc > 1 ? DATA_SIGN_EXTEND : DATA_ZERO_EXTEND, opc == 2 || size == 8 ? 8 : 4);
    if (!field(word, 24, 1) && !by_register && mode & 1)
        step_base(i, mode == 3);
}

static void load_or_store(struct data_insn *i, uint32_t word)
{
    if (field(word, 27, 3) == 5) {
        load_pair(i, word);
    } else if (field(word, 27, 3) == 7) {
        load_single(i, word);
    } else if (field(word, 24, 6) == 8) { /* LDXR, LDAR and kin; what STXR says is new */
        unsigned size = 1u << field(word, 30, 2);
        i->base = (uint8_t)field(word, 5, 5);
        if (field(word, 22, 1) && !field(word, 21, 1))
            transfer(i, field(word, 0, 5), size, true, DATA_ZERO_EXTEND, size == 8 ? 8 : 4);
        else
            i->kills |= killed(field(word, 0, 5)) | killed(field(word, 16, 5)) | killed(field(word, 10, 5));
    } else if (field(word, 27, 3) == 3 && !field(word, 26, 1)) { /* a literal */
        i->kills |= killed(field(word, 0, 5));
    }
}

/* ---- with registers ----------------------------------------------------------------------------------------------------------- */
static void with_shift(struct data_insn *i, uint32_t word, bool is_logical)
{
    static const uint8_t ops[] = {DATA_SHL, DATA_SHR, DATA_SAR, DATA_ROR};
    unsigned rd = field(word, 0, 5), rn = field(word, 5, 5), rm = field(word, 16, 5), by = field(word, 10, 6), opc = field(word, 29, 2);
    bool inverts = is_logical && field(word, 21, 1);
    if (by)
        i->first = (struct data_step){ops[field(word, 22, 2)], by};
    if (!is_logical) {
        add_or_subtract(i, word, reg_or_zero(rd), reg_or_zero(rn), reg_or_zero(rm));
        return;
    }
    logical(i, opc, reg_or_zero(rd), reg_or_zero(rn), reg_or_zero(rm));
    if (inverts && by)
        make_new(i, rd);
    else if (inverts)
        i->first = (struct data_step){DATA_NOT, 0};
    if (i->op == DATA_XOR && rn == rm && !by && !inverts) { /* 0: what follows a read of a register (__io_ar()) */
        i->op = DATA_MOVE, i->a = i->b = (struct data_operand){0};
    } else if (i->op == DATA_OR && rn == NOTHING && !by) { /* MOV, MVN */
        i->op = inverts ? DATA_NOT : DATA_MOVE, i->a = i->b, i->b = (struct data_operand){0};
        i->first = (struct data_step){0};
    }
}

static void with_extension(struct data_insn *i, uint32_t word)
{
    unsigned option = field(word, 13, 3), by = field(word, 10, 3), rd = field(word, 0, 5), bytes = 1u << (option & 3);
    if (bytes < i->size)
        i->first = (struct data_step){option & 4 ? DATA_SIGN_EXTEND : DATA_ZERO_EXTEND, bytes};
    else if (by)
        i->first = (struct data_step){DATA_SHL, by};
    add_or_subtract(i, word, field(word, 29, 1) ? reg_or_zero(rd) : reg_or_sp(rd), reg_or_sp(field(word, 5, 5)), reg_or_zero(field(word, 16, 5)));
    if (bytes < i->size && by)
        make_new(i, rd);
}

static void compare_if(struct data_insn *i, uint32_t word)
{
    i->op = DATA_COMPARE, i->sets_flags = true, i->conditional = true, i->condition = condition_of(field(word, 12, 4));
    i->a = reg_or_zero(field(word, 5, 5)), i->b = field(word, 11, 1) ? number : reg_or_zero(field(word, 16, 5));
    i->number = field(word, 16, 5);
    if (!field(word, 30, 1)) { /* CCMN */
        i->number = 0 - i->number;
        if (i->b.place == PLACE_REG)
            i->op = DATA_NEW, i->a = i->b = (struct data_operand){0};
    }
}

static void select_one(struct data_insn *i, uint32_t word)
{
    unsigned rd = field(word, 0, 5), rn = field(word, 5, 5), rm = field(word, 16, 5);
    bool plain = !field(word, 30, 1) && field(word, 10, 2) == 0;
    i->condition = condition_of(field(word, 12, 4));
    if (i->condition > 15) {
        make_new(i, rd);
    } else if (field(word, 10, 2) == 1 && !field(word, 30, 1) && rn == NOTHING && rm == NOTHING) { /* CSET */
        i->op = DATA_SET, i->condition ^= 1, i->to = reg_or_zero(rd);
    } else { /* CSEL; of CSINC, CSINV and CSNEG what is changed is not followed */
        i->op = DATA_CHOOSE, i->to = reg_or_zero(rd), i->b = reg_or_zero(rn);
        i->a = plain ? reg_or_zero(rm) : (struct data_operand){0};
    }
}

static void of_two_or_one(struct data_insn *i, uint32_t word)
{
    static const uint8_t shifts[] = {DATA_SHL, DATA_SHR, DATA_SAR, DATA_ROR};
    unsigned rd = field(word, 0, 5), opcode = field(word, 10, 6);
    i->to = reg_or_zero(rd), i->a = reg_or_zero(field(word, 5, 5)), i->b = reg_or_zero(field(word, 16, 5));
    if (!field(word, 30, 1) && opcode >> 2 == 2) {
        i->op = shifts[opcode & 3];
    } else if (field(word, 30, 1) && !field(word, 16, 5) && opcode == (i->size == 8 ? 3 : 2)) { /* REV */
        i->op = DATA_SWAP, i->b = (struct data_operand){0};
    } else {
        make_new(i, rd);
    }
}

static void with_registers(struct data_insn *i, uint32_t word)
{
    unsigned rd = field(word, 0, 5);
    if (!field(word, 28, 1)) {
        if (field(word, 24, 1) && field(word, 21, 1))
            with_extension(i, word);
        else
            with_shift(i, word, !field(word, 24, 1));
    } else if (field(word, 24, 1)) { /* MADD and kin */
        i->op = DATA_MUL, i->to = reg_or_zero(rd), i->a = reg_or_zero(field(word, 5, 5)), i->b = reg_or_zero(field(word, 16, 5));
        if (field(word, 21, 3) || field(word, 15, 1) || field(word, 10, 5) != NOTHING)
            make_new(i, rd);
    } else {
        switch (field(word, 21, 3)) {
        case 2: compare_if(i, word); break;
        case 4: select_one(i, word); break;
        case 6: of_two_or_one(i, word); break;
        default: make_new(i, rd); i->sets_flags = field(word, 29, 1); break; /* ADC, SBC */
        }
    }
}

struct data_insn data_instruction(const uint8_t *code, uint8_t length)
{
    struct data_insn i = {.op = DATA_NEW, .length = length, .base = NO_REGISTER, .index = NO_REGISTER, .scale = 1, .index_size = 8,
                          .pair = NO_REGISTER, .keeps_flags = true};
    uint32_t word;
    if (length != sizeof word)
        return i;
    memcpy(&word, code, sizeof word);
    i.size = field(word, 31, 1) ? 8 : 4;
    switch (field(word, 25, 4)) {
    case 8: case 9: with_number(&i, word); break;
    case 10: case 11: branch(&i, word); break;
    case 4: case 6: case 12: case 14: load_or_store(&i, word); break;
    case 5: case 13: with_registers(&i, word); break;
    default: break;
    }
    return i;
}

void copy_operands(const struct machine *m, uint64_t out[3])
{
    (void)m;
    out[0] = out[1] = out[2] = 0;
}
