/* The encoding of instructions: see encoding.h. */
#include "encoding.h"

struct reader {
    const uint8_t *code;
    size_t room, at;
    bool short_of; /* it has read behind the end */
};

static uint8_t next(struct reader *r)
{
    if (r->at >= r->room || r->at >= LONGEST_INSTRUCTION) {
        r->short_of = true;
        return 0;
    }
    return r->code[r->at++];
}

static bool is_invalid_of_one_byte(uint8_t op)
{
    switch (op) {
    case 0x06: case 0x07: case 0x0E: case 0x16: case 0x17: case 0x1E: case 0x1F: case 0x27: case 0x2F: case 0x37: case 0x3F:
    case 0x60: case 0x61: case 0x82: case 0x9A: case 0xD4: case 0xD5: case 0xD6: case 0xEA:
        return true;
    default:
        return false;
    }
}

static bool is_invalid_of_two_bytes(uint8_t op)
{
    switch (op) {
    case 0x04: case 0x0A: case 0x0C: case 0x24: case 0x25: case 0x26: case 0x27: case 0x36: case 0x39: case 0x3B: case 0x3C:
    case 0x3D: case 0x3E: case 0x3F:
        return true;
    default:
        return false;
    }
}

static bool has_modrm_of_one_byte(uint8_t op)
{
    if (op < 0x40)
        return (op & 7) < 4;
    if ((op >= 0x80 && op < 0x90) || (op >= 0xD0 && op < 0xD4) || (op >= 0xD8 && op < 0xE0))
        return true;
    switch (op) {
    case 0x63: case 0x69: case 0x6B: case 0xC0: case 0xC1: case 0xC6: case 0xC7: case 0xF6: case 0xF7: case 0xFE: case 0xFF:
        return true;
    default:
        return false;
    }
}

static bool has_modrm_of_two_bytes(uint8_t op)
{
    if ((op >= 0x04 && op < 0x0D) || op == 0x0E || (op >= 0x30 && op < 0x38) || op == 0x77 || (op >= 0x80 && op < 0x90))
        return false;
    return !(op >= 0xA0 && op <= 0xA2) && !(op >= 0xA8 && op <= 0xAA) && !(op >= 0xC8 && op < 0xD0);
}

static bool has_byte_of_two_bytes(uint8_t op)
{
    switch (op) {
    case 0x0F: case 0x70: case 0x71: case 0x72: case 0x73: case 0xA4: case 0xAC: case 0xBA: case 0xC2: case 0xC4: case 0xC5:
    case 0xC6:
        return true;
    default:
        return false;
    }
}

/* How many bytes of immediate follow an opcode of one byte. */
static uint8_t immediate_of_one_byte(uint8_t op, uint8_t reg, uint8_t prefixes, uint8_t rex)
{
    uint8_t full = prefixes & PREFIX_66 ? 2 : 4;
    if (op < 0x40)
        return (op & 7) == 4 ? 1 : (op & 7) == 5 ? full : 0;
    if ((op >= 0x70 && op < 0x80) || (op >= 0xB0 && op < 0xB8) || (op >= 0xE0 && op <= 0xE7))
        return 1;
    if (op >= 0xB8 && op < 0xC0)
        return rex & 8 ? 8 : full;
    if (op >= 0xA0 && op < 0xA4)
        return 8; /* an address */
    switch (op) {
    case 0x6A: case 0x6B: case 0x80: case 0x83: case 0xA8: case 0xC0: case 0xC1: case 0xC6: case 0xCD: case 0xEB: return 1;
    case 0x68: case 0x69: case 0x81: case 0xA9: case 0xC7: return full;
    case 0xC2: case 0xCA: return 2;
    case 0xC8: return 3;
    case 0xE8: case 0xE9: return 4;
    case 0xF6: return reg < 2 ? 1 : 0;
    case 0xF7: return reg < 2 ? full : 0;
    default: return 0;
    }
}

static void read_modrm(struct reader *r, struct encoding *e)
{
    size_t start = r->at;
    uint8_t byte = next(r), mod = byte >> 6, rm = byte & 7;
    e->modrm_at = (uint8_t)start;
    e->reg = byte >> 3 & 7;
    e->memory = mod != 3;
    if (e->memory) {
        uint8_t sib = rm == 4 ? next(r) : 0;
        bool wide = mod == 2 || (mod == 0 && (rm == 5 || (rm == 4 && (sib & 7) == 5)));
        r->at += wide ? 4 : mod == 1 ? 1 : 0;
    }
    e->operand = (uint8_t)(r->at - start);
}

static bool read_opcode(struct reader *r, struct encoding *e)
{
    e->opcode = next(r);
    if (e->opcode == 0xC4 || e->opcode == 0xC5 || e->opcode == 0x62) {
        uint8_t kind = e->opcode, payload = next(r);
        e->vector = true;
        e->map = kind == 0xC5 ? MAP_0F : kind == 0xC4 ? payload & 31 : payload & 7;
        r->at += kind == 0xC5 ? 0 : kind == 0xC4 ? 1 : 2;
        e->opcode = next(r);
        return true;
    }
    if (e->opcode != 0x0F)
        return !is_invalid_of_one_byte(e->opcode);
    e->map = MAP_0F;
    e->opcode = next(r);
    if (e->opcode != 0x38 && e->opcode != 0x3A)
        return !is_invalid_of_two_bytes(e->opcode);
    e->map = e->opcode == 0x38 ? MAP_0F38 : MAP_0F3A;
    e->opcode = next(r);
    return true;
}

static void read_operands(struct reader *r, struct encoding *e)
{
    bool modrm = e->vector ? !(e->map == MAP_0F && e->opcode == 0x77)
                 : e->map == MAP_1 ? has_modrm_of_one_byte(e->opcode)
                 : e->map == MAP_0F ? has_modrm_of_two_bytes(e->opcode) : true;
    if (modrm)
        read_modrm(r, e);
    e->immediate_at = (uint8_t)r->at;
    if (e->map == MAP_1 && !e->vector)
        e->immediate = immediate_of_one_byte(e->opcode, e->reg, e->prefixes, e->rex);
    else if (e->map == MAP_0F)
        e->immediate = !e->vector && e->opcode >= 0x80 && e->opcode < 0x90 ? 4 : has_byte_of_two_bytes(e->opcode);
    else
        e->immediate = e->map == MAP_0F3A;
    r->at += e->immediate;
}

struct encoding instruction_encoding(const uint8_t *code, size_t room)
{
    struct reader r = {.code = code, .room = room};
    struct encoding e = {0}, none = {0};
    for (;;) {
        uint8_t byte = next(&r), prefix;
        switch (byte) {
        case 0x66: prefix = PREFIX_66; break;
        case 0x67: prefix = PREFIX_67; break;
        case 0xF2: prefix = PREFIX_F2; break;
        case 0xF3: prefix = PREFIX_F3; break;
        case 0x64: prefix = PREFIX_FS; break;
        case 0x65: prefix = PREFIX_GS; break;
        case 0xF0: case 0x2E: case 0x36: case 0x3E: case 0x26: prefix = 0; break;
        default: goto opcode;
        }
        e.prefixes |= prefix;
    }
opcode:
    if (r.short_of)
        return none;
    r.at--;
    if ((code[r.at] & 0xF0) == 0x40)
        e.rex = next(&r);
    if (!read_opcode(&r, &e))
        return none;
    read_operands(&r, &e);
    if (r.short_of || r.at > room || r.at > LONGEST_INSTRUCTION)
        return none;
    e.length = (uint8_t)r.at;
    return e;
}
