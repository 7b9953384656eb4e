/* What one x86-64 instruction does with data (Intel SDM volume 2): see taint/dataflow.h. */
#include "../taint/dataflow.h"

#include "cpu.h"
#include "encoding.h"

enum { RAX, RCX, RDX, RBX, RSP };

struct parts {
    const uint8_t *code;
    struct encoding e;
    struct data_operand reg, rm, number;
};

static struct data_operand byte_register(const struct encoding *e, uint8_t n)
{
    bool high = !e->rex && n >= 4 && n < 8;
    return (struct data_operand){high ? PLACE_HIGH : PLACE_REG, high ? n - 4 : n};
}

static struct data_operand operand_register(const struct encoding *e, uint8_t n, uint8_t size)
{
    return size == 1 ? byte_register(e, n) : (struct data_operand){PLACE_REG, n};
}

static uint64_t immediate(const struct parts *p)
{
    uint64_t value = 0;
    uint8_t bytes = p->e.immediate;
    for (uint8_t n = 0; n < bytes; n++)
        value |= (uint64_t)p->code[p->e.immediate_at + n] << 8 * n;
    return bytes && bytes < 8 && value >> (8 * bytes - 1) ? value | ~0ull << 8 * bytes : value;
}

static void read_memory_operand(const struct parts *p, struct data_insn *i)
{
    const uint8_t *at = p->code + p->e.modrm_at;
    uint8_t mod = at[0] >> 6, rm = at[0] & 7, rex = p->e.rex;
    size_t next = 1;
    i->base = rm | (rex & 1) << 3;
    if (rm == 4) {
        uint8_t sib = at[next++];
        i->base = (sib & 7) | (rex & 1) << 3;
        i->index = (sib >> 3 & 7) | (rex & 2) << 2;
        i->index = i->index == 4 ? NO_REGISTER : i->index;
        i->scale = (uint8_t)(1 << (sib >> 6));
        if ((sib & 7) == 5 && mod == 0)
            i->base = NO_REGISTER;
    } else if (rm == 5 && mod == 0) {
        i->base = NO_REGISTER;
        i->from_rip = true;
    }
    if (mod == 1)
        i->displacement = (int8_t)at[next];
    else if (mod == 2 || (mod == 0 && i->base == NO_REGISTER))
        i->displacement = (int32_t)((uint32_t)at[next] | (uint32_t)at[next + 1] << 8 | (uint32_t)at[next + 2] << 16 | (uint32_t)at[next + 3] << 24);
    i->per_cpu = p->e.prefixes & PREFIX_GS;
}

static void binary(struct data_insn *i, uint8_t op, struct data_operand to, struct data_operand a, struct data_operand b)
{
    i->op = op, i->to = to, i->a = a, i->b = b;
    i->sets_flags = true;
}

static void move(struct data_insn *i, struct data_operand to, struct data_operand from)
{
    i->op = DATA_MOVE, i->to = to, i->a = from;
    i->keeps_flags = true;
}

/* add, or, adc, sbb, and, sub, xor, cmp: by three bits of the opcode or of ModRM. */
static void arithmetic(struct data_insn *i, uint8_t which, struct data_operand to, struct data_operand from)
{
    static const uint8_t ops[] = {DATA_ADD, DATA_OR, DATA_ADD_CARRY, DATA_SUB_CARRY, DATA_AND, DATA_SUB, DATA_XOR, DATA_COMPARE};
    binary(i, ops[which], ops[which] == DATA_COMPARE ? (struct data_operand){0} : to, to, from);
    if ((ops[which] == DATA_XOR || ops[which] == DATA_SUB) && to.place == PLACE_REG && from.place == PLACE_REG && to.reg == from.reg) {
        i->op = DATA_MOVE; /* zero */
        i->a = (struct data_operand){PLACE_NUMBER, 0};
        i->number = 0;
    }
}

static void shift(struct data_insn *i, uint8_t which, struct data_operand to, struct data_operand by)
{
    static const uint8_t ops[] = {DATA_ROL, DATA_ROR, DATA_NEW, DATA_NEW, DATA_SHL, DATA_SHR, DATA_SHL, DATA_SAR};
    binary(i, ops[which], to, to, by);
    if (ops[which] == DATA_NEW)
        i->kills = to.place == PLACE_REG ? (1u << to.reg) : 0;
}

/* Opcode groups 3, 4 and 5: test, not, neg, mul, div; inc, dec, call, jmp, push. */
static void group3(struct parts *p, struct data_insn *i)
{
    switch (p->e.reg) {
    case 0: case 1: binary(i, DATA_TEST, (struct data_operand){0}, p->rm, p->number); break;
    case 2: binary(i, DATA_NOT, p->rm, p->rm, (struct data_operand){0}); i->sets_flags = false; i->keeps_flags = true; break;
    case 3: binary(i, DATA_NEG, p->rm, p->rm, (struct data_operand){0}); break;
    default: i->kills = 1u << RAX | 1u << RDX; break;
    }
}

static void group5(struct parts *p, struct data_insn *i)
{
    if (p->e.reg < 2) {
        binary(i, p->e.reg ? DATA_SUB : DATA_ADD, p->rm, p->rm, (struct data_operand){PLACE_NUMBER, 0});
        i->number = 1;
    } else if (p->e.reg == 2 || p->e.reg == 4) {
        i->op = DATA_CALL;
    } else if (p->e.reg == 6) {
        i->op = DATA_PUSH, i->size = 8, i->a = p->rm;
    }
    i->keeps_flags = p->e.reg >= 4;
}

static void one_byte(struct parts *p, struct data_insn *i)
{
    uint8_t op = p->e.opcode;
    const struct data_operand accumulator = {PLACE_REG, RAX};
    if (op < 0x40 && (op & 7) < 6) {
        bool to_reg = op & 2;
        if ((op & 7) >= 4)
            arithmetic(i, op >> 3, accumulator, p->number);
        else
            arithmetic(i, op >> 3, to_reg ? p->reg : p->rm, to_reg ? p->rm : p->reg);
        return;
    }
    if (op >= 0x50 && op < 0x60) {
        uint8_t n = (op & 7) | (p->e.rex & 1) << 3;
        i->op = op < 0x58 ? DATA_PUSH : DATA_POP;
        i->size = 8, i->keeps_flags = true;
        *(op < 0x58 ? &i->a : &i->to) = (struct data_operand){PLACE_REG, n};
        return;
    }
    if (op >= 0x70 && op < 0x80) {
        i->op = DATA_BRANCH, i->condition = op & 15, i->keeps_flags = true;
        return;
    }
    if (op >= 0xB0 && op < 0xC0) {
        uint8_t n = (op & 7) | (p->e.rex & 1) << 3;
        i->size = op < 0xB8 ? 1 : i->size;
        move(i, operand_register(&p->e, n, i->size), p->number);
        return;
    }
    if (op > 0x90 && op < 0x98) {
        uint8_t n = (op & 7) | (p->e.rex & 1) << 3;
        i->op = DATA_EXCHANGE, i->keeps_flags = true;
        i->to = accumulator, i->a = (struct data_operand){PLACE_REG, n};
        return;
    }
    switch (op) {
    case 0x63: i->op = DATA_SIGN_EXTEND, i->from = 4, i->to = p->reg, i->a = p->rm, i->keeps_flags = true; break;
    case 0x69: case 0x6B: binary(i, DATA_MUL, p->reg, p->rm, p->number); break;
    case 0x80: case 0x81: case 0x83: arithmetic(i, p->e.reg, p->rm, p->number); break;
    case 0x84: case 0x85: binary(i, DATA_TEST, (struct data_operand){0}, p->rm, p->reg); break;
    case 0xA8: case 0xA9: binary(i, DATA_TEST, (struct data_operand){0}, accumulator, p->number); break;
    case 0x86: case 0x87: i->op = DATA_EXCHANGE, i->to = p->rm, i->a = p->reg, i->keeps_flags = true; break;
    case 0x88: case 0x89: move(i, p->rm, p->reg); break;
    case 0x8A: case 0x8B: move(i, p->reg, p->rm); break;
    case 0x8D: i->kills = (1u << p->reg.reg), i->keeps_flags = true; /* lea: the sum, where it has two terms */
        if (i->index == NO_REGISTER && i->base != NO_REGISTER)
            binary(i, DATA_ADD, p->reg, (struct data_operand){PLACE_REG, i->base}, (struct data_operand){PLACE_NUMBER, 0});
        else if (i->base == i->index && !i->displacement)
            binary(i, DATA_MUL, p->reg, (struct data_operand){PLACE_REG, i->base}, (struct data_operand){PLACE_NUMBER, 0});
        else if (i->base == NO_REGISTER && !i->displacement)
            binary(i, DATA_MUL, p->reg, (struct data_operand){PLACE_REG, i->index}, (struct data_operand){PLACE_NUMBER, 0});
        else if (i->base != NO_REGISTER && i->scale == 1 && !i->displacement)
            binary(i, DATA_ADD, p->reg, (struct data_operand){PLACE_REG, i->base}, (struct data_operand){PLACE_REG, i->index});
        i->number = i->op == DATA_MUL ? i->scale + (uint64_t)(i->base == i->index) : (uint64_t)(int64_t)i->displacement;
        i->sets_flags = false, i->base = i->index = NO_REGISTER;
        break;
    case 0x90: i->keeps_flags = true; break;
    case 0x98: i->op = DATA_SIGN_EXTEND, i->from = i->size / 2, i->to = i->a = accumulator, i->keeps_flags = true; break;
    case 0x99: i->kills = 1u << RDX, i->keeps_flags = true; break;
    case 0xC0: case 0xC1: shift(i, p->e.reg, p->rm, p->number); break;
    case 0xD0: case 0xD1: shift(i, p->e.reg, p->rm, (struct data_operand){PLACE_NUMBER, 0}); i->number = 1; break;
    case 0xD2: case 0xD3: shift(i, p->e.reg, p->rm, (struct data_operand){PLACE_REG, RCX}); break;
    case 0xC6: case 0xC7: move(i, p->rm, p->number); break;
    case 0xE8: i->op = DATA_CALL; break;
    case 0xE4: case 0xE5: case 0xEC: case 0xED: /* in: from memory, as far as data goes */
        i->size = op & 1 ? (p->e.prefixes & PREFIX_66 ? 2 : 4) : 1;
        move(i, accumulator, (struct data_operand){PLACE_MEMORY, 0});
        i->base = i->index = NO_REGISTER, i->from_rip = false;
        break;
    case 0xF6: case 0xF7: group3(p, i); break;
    case 0xFE: case 0xFF: group5(p, i); break;
    case 0xA4: case 0xA5: case 0xAA: case 0xAB: case 0xAC: case 0xAD: case 0x6C: case 0x6D: case 0x6E: case 0x6F: /* string */
        i->kills = 1u << 6 | 1u << 7 | 1u << RCX | (op == 0xAC || op == 0xAD ? 1u << RAX : 0);
        i->keeps_flags = true;
        if (op == 0xA4 || op == 0xA5)
            i->op = DATA_COPY, i->size = op == 0xA4 ? 1 : i->size, i->number = (p->e.prefixes & PREFIX_F3) != 0;
        break;
    case 0xE9: i->op = DATA_CALL, i->keeps_flags = true; break; /* as a function's last act, perhaps */
    case 0xEB: case 0x68: case 0x6A: i->keeps_flags = true; break;
    default: break;
    }
}

static void two_bytes(struct parts *p, struct data_insn *i)
{
    uint8_t op = p->e.opcode;
    if (op >= 0x40 && op < 0x50) {
        i->op = DATA_CHOOSE, i->condition = op & 15, i->to = p->reg, i->a = p->reg, i->b = p->rm, i->keeps_flags = true;
    } else if (op >= 0x80 && op < 0x90) {
        i->op = DATA_BRANCH, i->condition = op & 15, i->keeps_flags = true;
    } else if (op >= 0x90 && op < 0xA0) {
        i->op = DATA_SET, i->condition = op & 15, i->size = 1, i->keeps_flags = true;
        i->to = p->e.memory ? p->rm : byte_register(&p->e, p->rm.reg);
    } else if (op >= 0xC8 && op < 0xD0) {
        struct data_operand reg = {PLACE_REG, (uint8_t)((op & 7) | (p->e.rex & 1) << 3)};
        i->op = DATA_SWAP, i->to = i->a = reg, i->keeps_flags = true;
    } else if (op == 0xB6 || op == 0xB7 || op == 0xBE || op == 0xBF) {
        i->op = op < 0xBE ? DATA_ZERO_EXTEND : DATA_SIGN_EXTEND, i->from = op & 1 ? 2 : 1, i->keeps_flags = true;
        i->to = p->reg, i->a = p->e.memory || op & 1 ? p->rm : byte_register(&p->e, p->rm.reg);
    } else if (op == 0xAF) {
        binary(i, DATA_MUL, p->reg, p->reg, p->rm);
    } else if (op == 0xA3 || (op == 0xBA && p->e.reg == 4)) {
        binary(i, DATA_BIT, (struct data_operand){0}, p->rm, op == 0xA3 ? p->reg : p->number);
        if (op == 0xA3 && p->e.memory)
            i->op = DATA_NEW;
    } else if (op == 0xBC || op == 0xBD || op == 0xB8 || op == 0xA5 || op == 0xA4 || op == 0xAC || op == 0xAD) {
        i->kills = (1u << (op >= 0xB8 ? p->reg.reg : p->rm.reg));
    } else if (op == 0xA2) {
        i->kills = 1u << RAX | 1u << RBX | 1u << RCX | 1u << RDX;
    } else if (op == 0x31) {
        i->kills = 1u << RAX | 1u << RDX;
    } else if (op == 0xB0 || op == 0xB1 || op == 0xC0 || op == 0xC1) {
        i->kills = (1u << RAX | 1u << p->reg.reg);
    } else if (op == 0x0D || (op >= 0x18 && op < 0x20) || op == 0xAE) {
        i->keeps_flags = true;
    }
}

static uint8_t operand_size(const struct encoding *e)
{
    bool byte = e->map == MAP_1 ? e->opcode < 0x40 || e->opcode == 0x80 || e->opcode == 0x84 || e->opcode == 0x86 ||
                                      e->opcode == 0x88 || e->opcode == 0x8A || e->opcode == 0xA8 || e->opcode == 0xC0 ||
                                      e->opcode == 0xC6 || e->opcode == 0xD0 || e->opcode == 0xD2 || e->opcode == 0xF6 ||
                                      e->opcode == 0xFE
                                : false;
    if (byte && !(e->opcode & 1))
        return 1;
    return e->rex & 8 ? 8 : e->prefixes & PREFIX_66 ? 2 : 4;
}

struct data_insn data_instruction(const uint8_t *code, uint8_t length)
{
    struct parts p = {.code = code, .e = instruction_encoding(code, length)};
    struct data_insn i = {.op = DATA_NEW, .length = length, .base = NO_REGISTER, .index = NO_REGISTER, .scale = 1, .index_size = 8, .pair = NO_REGISTER};
    if (!p.e.length || p.e.vector || p.e.map > MAP_0F38)
        return i;
    i.size = operand_size(&p.e);
    i.number = immediate(&p);
    uint8_t reg = p.e.reg | (p.e.rex & 4) << 1, rm = p.e.modrm_at ? (code[p.e.modrm_at] & 7) | (p.e.rex & 1) << 3 : 0;
    p.reg = operand_register(&p.e, reg, i.size);
    p.rm = p.e.memory ? (struct data_operand){PLACE_MEMORY, 0} : operand_register(&p.e, rm, i.size);
    p.number = (struct data_operand){PLACE_NUMBER, 0};
    if (p.e.memory)
        read_memory_operand(&p, &i);
    if (p.e.map == MAP_1)
        one_byte(&p, &i);
    else if (p.e.map == MAP_0F)
        two_bytes(&p, &i);
    return i;
}

void copy_operands(const struct machine *m, uint64_t out[3])
{
    out[0] = live_reg(m, R_RDI), out[1] = live_reg(m, R_RSI), out[2] = live_reg(m, R_RCX);
}
