/*
 * Where instructions lead, and which numbers they hold: for whoever reads code without running it, as a list of basic
 * blocks. Python knows struct flow as a row of kobox/arch/x86_64/decode.py.
 */
#include "encoding.h"

#define EXPORT __attribute__((visibility("default")))

enum { FLOW_ON, FLOW_BRANCH, FLOW_JUMP, FLOW_CALL, FLOW_RETURN, FLOW_STOP };
enum { HAS_TARGET = 1, HAS_IMMEDIATE = 2, COMPARES = 4, TOUCHES_MEMORY = 8 };

struct flow {
    uint32_t offset;
    uint8_t length, flow, flags, unused;
    int64_t target, immediate;
};

static int64_t signed_number(const uint8_t *at, uint8_t bytes)
{
    uint64_t value = 0;
    for (uint8_t n = 0; n < bytes; n++)
        value |= (uint64_t)at[n] << 8 * n;
    return bytes && bytes < 8 && value >> (8 * bytes - 1) ? (int64_t)(value - ((uint64_t)1 << 8 * bytes)) : (int64_t)value;
}

static uint8_t flow_of(const struct encoding *e)
{
    uint8_t op = e->opcode;
    if (e->vector || e->map > MAP_0F)
        return FLOW_ON;
    if (e->map == MAP_0F) {
        if (op >= 0x80 && op < 0x90)
            return FLOW_BRANCH;
        return op == 0x0B || op == 0xB9 ? FLOW_STOP : op == 0x07 ? FLOW_RETURN : FLOW_ON; /* ud2, ud1, sysret */
    }
    if ((op >= 0x70 && op < 0x80) || (op >= 0xE0 && op <= 0xE3))
        return FLOW_BRANCH;
    switch (op) {
    case 0xEB: case 0xE9: return FLOW_JUMP;
    case 0xE8: return FLOW_CALL;
    case 0xC2: case 0xC3: case 0xCA: case 0xCB: case 0xCF: return FLOW_RETURN;
    case 0xF4: return FLOW_STOP; /* hlt */
    case 0xFF: return e->reg == 2 || e->reg == 3 ? FLOW_CALL : e->reg == 4 || e->reg == 5 ? FLOW_JUMP : FLOW_ON;
    default: return FLOW_ON;
    }
}

/* Whether the immediate is where a jump, branch or call goes, counted from the instruction's end. */
static bool is_relative(const struct encoding *e)
{
    uint8_t op = e->opcode;
    if (e->vector)
        return false;
    if (e->map == MAP_0F)
        return op >= 0x80 && op < 0x90;
    return e->map == MAP_1 && ((op >= 0x70 && op < 0x80) || (op >= 0xE0 && op <= 0xE3) || (op >= 0xE8 && op <= 0xE9) || op == 0xEB);
}

static bool is_number(const struct encoding *e)
{
    bool address = e->opcode >= 0xA0 && e->opcode < 0xA4; /* of a mov without ModRM */
    return e->map == MAP_1 && !e->vector && e->immediate && !is_relative(e) && !address && e->opcode != 0xC8;
}

static bool compares(const struct encoding *e)
{
    uint8_t op = e->opcode;
    if (e->map != MAP_1 || e->vector)
        return false;
    if (op == 0x3C || op == 0x3D || op == 0x2C || op == 0x2D)
        return true;
    return (op == 0x80 || op == 0x81 || op == 0x83) && (e->reg == 5 || e->reg == 7);
}

static bool touches_memory(const struct encoding *e)
{
    uint8_t op = e->opcode;
    if (!e->memory || e->vector)
        return e->memory;
    if (e->map == MAP_1)
        return op == 0xFF ? e->reg < 2 : op != 0x8D;
    return e->map != MAP_0F || !((op >= 0x18 && op <= 0x1F) || op == 0x0D); /* hints */
}

static bool flow_at(const uint8_t *code, size_t size, size_t at, struct flow *out)
{
    struct encoding e = instruction_encoding(code + at, size - at);
    if (!e.length)
        return false;
    *out = (struct flow){.offset = (uint32_t)at, .length = e.length, .flow = flow_of(&e)};
    int64_t number = signed_number(code + at + e.immediate_at, e.immediate);
    if (is_relative(&e)) {
        out->flags |= HAS_TARGET;
        out->target = (int64_t)at + e.length + number;
        return true;
    }
    if (is_number(&e)) {
        out->flags |= HAS_IMMEDIATE;
        out->immediate = number;
    }
    out->flags |= (compares(&e) ? COMPARES : 0) | (touches_memory(&e) ? TOUCHES_MEMORY : 0);
    return true;
}

/*
 * The instructions of `code`, one behind the other, as long as there are any and `room` for them in `out`. Returns how
 * many; -1 when `row` is not the size of a struct flow, or there is too much code.
 */
EXPORT int64_t kobox_flow(const uint8_t *code, size_t size, struct flow *out, size_t row, size_t room)
{
    size_t found = 0, at = 0;
    if (row != sizeof *out || size > INT32_MAX)
        return -1;
    while (at < size && found < room && flow_at(code, size, at, &out[found]))
        at += out[found++].length;
    return (int64_t)found;
}
