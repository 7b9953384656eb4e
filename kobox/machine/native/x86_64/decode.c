/* The decoder: opcodes of compiled kernel code (Intel SDM volume 2, appendix A "Opcode map"). */
#include "cpu.h"
#include "encoding.h"

#include <stddef.h>
#include <string.h>

static int32_t signed_at(const uint8_t *at, int bytes)
{
    if (bytes == 1)
        return (int8_t)*at;
    return (int32_t)(at[0] | at[1] << 8 | at[2] << 16 | (uint32_t)at[3] << 24);
}

/* The memory operand that ModRM at `at` names; returns how many bytes it takes, or 0 for a register. */
static int modrm_operand(const uint8_t *at, uint8_t rex, struct insn *i)
{
    uint8_t mod = at[0] >> 6, rm = at[0] & 7;
    int used = 1;
    i->base = i->index = NO_REG;
    i->scale = 1;
    if (mod == 3)
        return 0;
    if (rm == 4) {
        uint8_t sib = at[used++], index = (sib >> 3 & 7) | (rex & 2) << 2, base = sib & 7;
        if (index != 4) {
            i->index = index;
            i->scale = 1 << (sib >> 6);
        }
        if (base == 5 && mod == 0) {
            i->disp = signed_at(at + used, 4);
            return used + 4;
        }
        i->base = base | (rex & 1) << 3;
    } else if (rm == 5 && mod == 0) {
        i->flags |= INSN_RIP;
        i->disp = signed_at(at + used, 4);
        return used + 4;
    } else {
        i->base = rm | (rex & 1) << 3;
    }
    if (mod == 1)
        i->disp = signed_at(at + used++, 1);
    if (mod == 2) {
        i->disp = signed_at(at + used, 4);
        used += 4;
    }
    return used;
}

static uint8_t access_of_two_byte(uint8_t op, uint8_t reg, bool p66, bool repz, bool repnz, uint8_t wide, uint8_t *size)
{
    bool vector = (op >= 0x10 && op <= 0x17) || (op >= 0x28 && op <= 0x2F) || (op >= 0x50 && op <= 0x7F) || op == 0xC2 ||
                  op == 0xC4 || op == 0xC6 || op >= 0xD0;
    *size = wide;
    if (vector) {
        *size = repz ? 4 : repnz ? 8 : 16;
        switch (op) {
        case 0x11: case 0x29: return INSN_WRITE;
        case 0x7F: *size = p66 || repz ? 16 : 8; return INSN_WRITE;
        case 0x6F: *size = p66 || repz ? 16 : 8; return INSN_READ;
        case 0xE7: *size = p66 ? 16 : 8; return INSN_WRITE;
        case 0x2B: return INSN_WRITE;
        case 0x13: case 0x17: case 0xD6: *size = 8; return INSN_WRITE;
        case 0x12: case 0x16: *size = 8; return INSN_READ;
        case 0x2A: case 0x2C: case 0x2D: *size = wide; return INSN_READ;
        case 0x6E: *size = wide; return INSN_READ;
        case 0x7E: *size = repz ? 8 : wide; return repz ? INSN_READ : INSN_WRITE;
        case 0xC4: *size = 2; return INSN_READ;
        case 0xF0: case 0xFF: return 0;
        default: *size = *size == 16 && !p66 && op >= 0x60 && op != 0xC6 && op != 0xC2 ? 8 : *size; return INSN_READ;
        }
    }
    if ((op & 0xF0) == 0x40 || op == 0xAF || op == 0xBC || op == 0xBD || op == 0xA3 || op == 0x02 || op == 0x03)
        return INSN_READ;
    if (op == 0xB8)
        return repz ? INSN_READ : 0;
    if ((op & 0xF0) == 0x90) {
        *size = 1;
        return INSN_WRITE;
    }
    switch (op) {
    case 0xB6: case 0xBE: *size = 1; return INSN_READ;
    case 0xB7: case 0xBF: *size = 2; return INSN_READ;
    case 0xC3: return INSN_WRITE;
    case 0xB0: case 0xC0: *size = 1; return INSN_READ | INSN_WRITE;
    case 0xA4: case 0xA5: case 0xAC: case 0xAD: case 0xAB: case 0xB3: case 0xBB: case 0xB1: case 0xC1:
        return INSN_READ | INSN_WRITE;
    case 0xBA: return reg == 4 ? INSN_READ : reg > 4 ? INSN_READ | INSN_WRITE : 0;
    case 0xC7:
        *size = wide == 8 ? 16 : 8;
        return reg == 1 ? INSN_READ | INSN_WRITE : 0;
    default: return 0;
    }
}

static uint8_t access_of_one_byte(uint8_t op, uint8_t reg, uint8_t wide, uint8_t *size)
{
    *size = op & 1 ? wide : 1;
    if (op < 0x40) {
        if ((op & 7) > 3)
            return 0;
        return (op & 7) > 1 || op >> 3 == 7 ? INSN_READ : INSN_READ | INSN_WRITE;
    }
    switch (op) {
    case 0x63: *size = 4; return INSN_READ;
    case 0x69: case 0x6B: *size = wide; return INSN_READ;
    case 0x83: *size = wide; return reg == 7 ? INSN_READ : INSN_READ | INSN_WRITE;
    case 0x80: case 0x81: return reg == 7 ? INSN_READ : INSN_READ | INSN_WRITE;
    case 0x84: case 0x85: return INSN_READ;
    case 0x86: case 0x87: return INSN_READ | INSN_WRITE;
    case 0x88: case 0x89: return INSN_WRITE;
    case 0x8A: case 0x8B: return INSN_READ;
    case 0x8F: *size = 8; return INSN_WRITE;
    case 0xC0: case 0xC1: case 0xD0: case 0xD1: case 0xD2: case 0xD3: return INSN_READ | INSN_WRITE;
    case 0xC6: case 0xC7: return INSN_WRITE;
    case 0xF6: case 0xF7: return reg == 2 || reg == 3 ? INSN_READ | INSN_WRITE : INSN_READ;
    case 0xFE: return reg < 2 ? INSN_READ | INSN_WRITE : 0;
    case 0xFF:
        if (reg < 2)
            return INSN_READ | INSN_WRITE;
        *size = 8;
        return reg == 2 || reg == 4 || reg == 6 ? INSN_READ : 0;
    default: return 0;
    }
}

/* Which general registers an instruction changes, and whether a pointer in one of them goes on being one. */
static void follow_pointers(struct insn *i, const uint8_t *at, uint8_t map, uint8_t op, uint8_t rex, bool wide)
{
    uint8_t reg = (at[0] >> 3 & 7) | (rex & 4) << 1, rm = (at[0] & 7) | (rex & 1) << 3, low = (op & 7) | (rex & 1) << 3;
    bool direct = at[0] >> 6 == 3;
    uint16_t to_reg = (uint16_t)(1u << reg), to_rm = direct ? (uint16_t)(1u << rm) : 0;
    uint8_t digit = at[0] >> 3 & 7;
    if (map == 1) {
        if ((op & 0xF0) == 0x40 || op == 0xAF || op == 0xB6 || op == 0xB7 || op == 0xBE || op == 0xBF || op == 0xBC ||
            op == 0xBD || op == 0xB8 || op == 0x02 || op == 0x03 || op == 0x50 || op == 0xD7 || op == 0xC5 || op == 0x2C ||
            op == 0x2D)
            i->kills = to_reg;
        else if ((op & 0xF0) == 0x90 || op == 0xA4 || op == 0xA5 || op == 0xAC || op == 0xAD || op == 0xAB || op == 0xB3 ||
                 op == 0xBB || (op == 0xBA && digit > 4) || op == 0x7E)
            i->kills = to_rm;
        else if (op == 0xB0 || op == 0xB1)
            i->kills = to_rm | 1;
        else if (op == 0xC0 || op == 0xC1)
            i->kills = to_rm | to_reg;
        else if (op >= 0xC8 && op <= 0xCF)
            i->kills = (uint16_t)(1u << low);
        else if (op == 0xA2 || op == 0x31 || op == 0x32 || op == 0x33 || op == 0x01)
            i->kills = 0xF;
        else if (op == 0x00 || op == 0x20 || op == 0x21 || op == 0xC7) /* of the system's registers, random numbers */
            i->kills = (uint16_t)(to_rm | (op == 0xC7 ? 5 : 0));
        if (op == 0xB6 || op == 0xB7 || op == 0xBE || op == 0xBF) {
            bool high = direct && !(op & 1) && !rex && rm >= 4; /* AH and its kin */
            i->dest = reg, i->source = direct ? rm : NO_REG;
            i->value = high ? VALUE_NEW : direct ? VALUE_COPIED : VALUE_LOADED;
        }
        return;
    }
    if (map) {
        i->kills = to_reg; /* 0F 38 and 0F 3A: mostly none, and none for sure */
        return;
    }
    if (op < 0x40 && op >> 3 != 7) {
        bool adds = op >> 3 == 0 && wide, subtracts = op >> 3 == 5 && wide;
        if ((op & 7) < 2)
            i->kills = to_rm, i->dest = rm, i->source = reg;
        else if ((op & 7) < 4)
            i->kills = to_reg, i->dest = reg, i->source = direct ? rm : NO_REG;
        else if ((op & 7) < 6)
            i->kills = 1;
        if (i->kills && (op & 7) < 4 && (op & 1) && (adds || subtracts) && (i->kills != to_rm || direct)) {
            i->kills = 0;
            i->pointer = POINTER_MOVE;
            i->source = subtracts ? NO_REG : i->source;
        }
    } else if (op >= 0x58 && op <= 0x5F) {
        i->kills = (uint16_t)(1u << low);
    } else if (op == 0x63 || op == 0x69 || op == 0x6B || op == 0x8A) {
        i->kills = to_reg;
        if (op == 0x63) {
            i->dest = reg, i->source = direct ? rm : NO_REG;
            i->value = direct ? VALUE_COPIED : VALUE_LOADED;
        }
    } else if (op == 0x80 || op == 0x81 || op == 0x83) {
        i->kills = digit == 7 ? 0 : to_rm;
        if (op != 0x80 && direct && wide && (digit == 0 || digit == 5)) {
            i->kills = 0;
            i->pointer = POINTER_STEP;
            i->dest = rm;
            i->disp = signed_at(at + 1, op == 0x83 ? 1 : 4);
            i->disp = digit == 5 ? -i->disp : i->disp;
        }
    } else if (op == 0x86 || op == 0x87) {
        i->kills = to_reg | to_rm;
    } else if (op == 0x88 || op == 0x8C || op == 0x8F || (op >= 0xC0 && op <= 0xC1) || (op >= 0xD0 && op <= 0xD3) || op == 0xC6) {
        i->kills = to_rm;
    } else if (op == 0x89 || op == 0x8B) {
        i->kills = op == 0x89 ? to_rm : to_reg;
        i->value = direct ? VALUE_COPIED : op == 0x8B ? VALUE_LOADED : wide ? VALUE_STORED : VALUE_NEW;
        i->dest = op == 0x89 ? rm : reg;
        i->source = op == 0x89 ? reg : NO_REG;
        if (direct) {
            i->pointer = wide ? POINTER_COPY : POINTER_SAME;
            i->source = op == 0x89 ? reg : rm;
        }
    } else if (op == 0x8D) {
        i->kills = to_reg;
        if (wide) {
            i->pointer = POINTER_MADE;
            i->dest = reg;
        }
    } else if (op == 0xA0 || op == 0xA1 || op == 0xD7 || op == 0xE4 || op == 0xE5 || op == 0xEC || op == 0xED) {
        i->kills = 1;
    } else if ((op >= 0xE0 && op <= 0xE2) || op == 0xC9) {
        i->kills = op == 0xC9 ? 1u << 5 : 1u << 1;
    } else if (op >= 0x91 && op <= 0x97) {
        i->kills = (uint16_t)(1u << low | 1);
    } else if (op == 0x98 || op == 0x99) {
        i->kills = op == 0x98 ? 1 : 4;
    } else if (op >= 0xB0 && op <= 0xBF) {
        i->kills = (uint16_t)(1u << low);
    } else if (op == 0xC7) {
        i->kills = to_rm;
        i->value = !direct && wide ? VALUE_STORED : VALUE_NEW;
        if (direct && wide) {
            i->pointer = POINTER_CONSTANT;
            i->dest = rm;
            i->extra = 1; /* where the constant stands is counted from ModRM */
        }
    } else if (op == 0xC2 || op == 0xC3) { /* whoever enters the module next brings arguments of his own */
        i->kills = (uint16_t)(CALLER_SAVED & ~1u);
    } else if (op == 0xF6 || op == 0xF7) {
        i->kills = digit >= 4 ? 5 : digit >= 2 ? to_rm : 0;
    } else if (op == 0xFE || op == 0xFF) {
        if (digit < 2 && direct && wide && op == 0xFF) {
            i->pointer = POINTER_STEP;
            i->dest = rm;
            i->disp = digit ? -1 : 1;
        } else {
            i->kills = digit < 2 ? to_rm : digit == 2 ? CALLER_SAVED : 0;
        }
    }
}

/* Instructions of one byte's map that are no access by ModRM: calls and jumps, strings, the frame's room. `at` is what
 * follows the opcode. Returns whether it is one. */
static bool decode_special(struct insn *i, const struct encoding *e, const uint8_t *at)
{
    uint8_t op = e->opcode, wide = e->rex & 8 ? 8 : e->prefixes & PREFIX_66 ? 2 : 4;
    if (op == 0xE8 || op == 0xE9) {
        i->op = op == 0xE8 ? OP_CALL : OP_JUMP;
        i->kills = op == 0xE8 ? CALLER_SAVED : 0;
        i->disp = signed_at(at, 4);
        return true;
    }
    if (op == 0xFF && at[0] >> 3 == 0x1C) { /* jmp *%reg: what a retpoline becomes where the kernel needs none */
        i->op = OP_JUMP;
        i->base = (uint8_t)((at[0] & 7) | (e->rex & 1) << 3);
        return true;
    }
    if ((op & 0xFE) == 0xA4 || (op & 0xFE) == 0xA6 || (op >= 0xAA && op <= 0xAF) || (op >= 0x6C && op <= 0x6F)) {
        i->op = OP_STRING;
        i->size = !(op & 1) ? 1 : op < 0x70 && wide == 8 ? 4 : wide;
        i->flags |= e->prefixes & (PREFIX_F3 | PREFIX_F2) ? INSN_REP : 0;
        i->extra = op & 0xFE;
        i->kills = op == 0xAC || op == 0xAD ? 1 : 0;
        return true;
    }
    if ((op == 0x83 || op == 0x81) && e->rex == 0x48 && (at[0] == 0xEC || at[0] == 0xC4)) {
        i->op = at[0] == 0xEC ? OP_ENTER : OP_LEAVE;
        i->disp = signed_at(at + 1, op == 0x83 ? 1 : 4);
        return true;
    }
    return false;
}

static uint8_t what_of_flags(const uint8_t *code, uint8_t length)
{
    uint8_t n = 0;
    while (n < length && (code[n] == 0x66 || (code[n] & 0xF0) == 0x40))
        n++;
    if (n + 1 >= length)
        return FLAGS_OTHER;
    uint8_t op = code[n], field = code[n + 1] >> 3 & 7;
    if ((op & 0xF0) == 0x70 || (op == 0x0F && (code[n + 1] & 0xF0) == 0x80))
        return FLAGS_JUMP;
    if ((op >= 0x38 && op <= 0x3B) || op == 0x84 || op == 0x85 || /* cmp, test */
        ((op == 0x80 || op == 0x81 || op == 0x83) && field == 7) || ((op == 0xF6 || op == 0xF7) && field < 2))
        return FLAGS_COMPARED;
    if ((op >= 0x88 && op <= 0x8B) || op == 0x8D || op == 0xC6 || op == 0xC7 || (op & 0xF8) == 0xB8) /* mov, lea */
        return FLAGS_KEPT;
    return FLAGS_OTHER;
}

static struct insn decode_memory(const uint8_t *code, uint8_t length)
{
    struct insn i = {.op = OP_PLAIN, .length = length, .base = NO_REG, .index = NO_REG, .scale = 1, .source = NO_REG,
                     .second = NO_REG};
    struct encoding e = instruction_encoding(code, DECODE_BYTES);
    bool p66 = e.prefixes & PREFIX_66, repz = e.prefixes & PREFIX_F3, repnz = e.prefixes & PREFIX_F2;
    uint8_t op = e.opcode, rex = e.rex, wide = rex & 8 ? 8 : p66 ? 2 : 4, size = 0, access = 0;
    uint8_t n = e.modrm_at ? e.modrm_at : e.immediate_at;
    i.flags = e.prefixes & PREFIX_GS ? INSN_GS : 0;
    if (!e.length || e.vector || e.prefixes & (PREFIX_67 | PREFIX_FS)) { /* FS: no place of the kernel's on this machine */
        i.kills = 0xFFFF; /* which, is not looked at */
        return i;
    }
    if (e.map == MAP_1 && decode_special(&i, &e, code + n))
        return i;
    switch (e.map) {
    case MAP_1:
        access = access_of_one_byte(op, e.reg, wide, &size);
        break;
    case MAP_0F:
        access = access_of_two_byte(op, e.reg, p66, repz, repnz, wide, &size);
        if (op == 0xA3 || op == 0xAB || op == 0xB3 || op == 0xBB) {
            i.op = OP_BIT;
            i.extra = e.reg | (rex & 4) << 1;
        }
        break;
    case MAP_0F38:
        access = op == 0xF1 && !repnz ? INSN_WRITE : INSN_READ;
        size = op == 0xF0 && repnz ? 1 : op >= 0xF0 ? wide : 16;
        if ((op >= 0x20 && op <= 0x25) || (op >= 0x30 && op <= 0x35)) /* pmovsx, pmovzx: a part of the register */
            size = (op & 15) == 1 || (op & 15) == 4 ? 4 : (op & 15) == 2 ? 2 : 8;
        break;
    default:
        access = op >= 0x14 && op <= 0x17 ? 0 : INSN_READ;
        size = op == 0x20 ? 1 : op == 0x21 ? 4 : op == 0x22 ? wide : op == 0x0A ? 4 : op == 0x0B ? 8 : 16;
    }
    follow_pointers(&i, code + n, e.map, op, rex, rex & 8);
    if (i.pointer == POINTER_CONSTANT)
        i.extra = (uint8_t)(n + 1);
    if (i.pointer == POINTER_MADE) {
        int used = modrm_operand(code + n, rex, &i);
        i.extra = used >= 5 ? (uint8_t)(n + used - 4) : 0;
        return i;
    }
    int used = access ? modrm_operand(code + n, rex, &i) : 0;
    if (!used) {
        i.op = OP_PLAIN;
        return i;
    }
    if (i.op != OP_BIT) {
        i.op = OP_MEMORY;
        i.extra = used >= 5 ? (uint8_t)(n + used - 4) : 0;
    }
    i.flags |= access;
    i.size = size;
    return i;
}

struct insn decode_instruction(const uint8_t *code, uint8_t length)
{
    struct insn i = decode_memory(code, length);
    i.of_flags = what_of_flags(code, length);
    return i;
}

uint32_t count_instructions(const uint8_t *code, uint32_t size)
{
    uint32_t found = 0;
    for (uint32_t at = 0; at < size; found++) {
        uint8_t length = instruction_encoding(code + at, size - at).length;
        at += length ? length : size - at; /* what is no instruction ends it */
    }
    return found;
}

/* What the decoder makes of an instruction. -1: `size` is not that of a struct insn, or `length` is no instruction's. */
EXPORT int kobox_decode(const uint8_t *code, unsigned length, struct insn *out, size_t size)
{
    uint8_t whole[DECODE_BYTES] = {0};
    if (size != sizeof *out || !length || length > 15)
        return -1;
    memcpy(whole, code, length);
    *out = decode_instruction(whole, (uint8_t)length);
    return 0;
}

/* Whether an instruction that reads and writes memory does so in one step, as other CPUs see it: LOCK, or XCHG with memory. */
bool is_atomic(const uint8_t *code)
{
    for (int n = 0; n < 4; n++) {
        if (code[n] == 0xF0)
            return true;
        if ((code[n] & 0xF0) == 0x40)
            return (code[n + 1] & 0xFE) == 0x86;
        if (code[n] != 0x66 && code[n] != 0x3E && code[n] != 0x2E)
            return (code[n] & 0xFE) == 0x86;
    }
    return false;
}
