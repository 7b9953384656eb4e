/*
 * String instructions: REP STOS and REP MOVS are a block that jumps to itself, an iteration a visit. When one is seen to repeat, all but its last
 * iterations within the page are done here at once, and are paid for in budget as if they had been executed: time and
 * results are the same, at a hundredth of the cost. Pages that hold translated code are left to Unicorn, which must see
 * the writes.
 */
#include "cpu.h"

void run_string_instruction(struct machine *m, uint64_t address)
{
    uint8_t code[3];
    uint64_t cr3 = live_cr3(m), page = PAGE - 1;
    if (!copy_virtual(m, cr3, address, code, 3, false))
        return;
    bool wide = code[1] == 0x48;
    uint8_t op = wide ? code[2] : code[1];
    if (code[0] != 0xF3 || (op != 0xAA && op != 0xAB && op != 0xA4 && op != 0xA5)) {
        m->plain_loop = address;
        return;
    }
    uint64_t unit = !(op & 1) ? 1 : wide ? 8 : 4, to = live_reg(m, R_RDI), from = live_reg(m, R_RSI);
    uint64_t count = live_reg(m, R_RCX), room = (PAGE - (to & page)) / unit;
    bool moves = op == 0xA4 || op == 0xA5;
    if (moves && (PAGE - (from & page)) / unit < room)
        room = (PAGE - (from & page)) / unit;
    if (count < 4 || (m->budget < 4 && m->cpus.count == 1) || read_reg(m, UC_X86_REG_EFLAGS) & FLAG_DF)
        return;
    uint64_t n = count - 1 < room ? count - 1 : room;
    if (m->cpus.count > 1 && (int64_t)n > m->budget) { /* it is one instruction: a short turn does not take it to pieces */
        m->granted += (int64_t)n - m->budget;
        m->budget = (int64_t)n;
    }
    n = n < (uint64_t)m->budget ? n : (uint64_t)m->budget;
    uint64_t target = walk(m, cr3, to, WRITTEN), source = moves ? walk(m, cr3, from, READ) : 0;
    if (n < 2 || target >= m->ram_size || source >= m->ram_size || bit_of(m->code_pages, target / PAGE))
        return;
    uint8_t *out = m->ram + target;
    if (moves && (target >= source + n * unit || source >= target + n * unit)) {
        memcpy(out, m->ram + source, n * unit);
    } else if (moves) {
        for (uint64_t i = 0; i < n * unit; i += unit)
            memmove(out + i, m->ram + source + i, unit);
    } else {
        uint64_t value = live_reg(m, R_RAX), done = unit;
        if (unit == 1) {
            memset(out, (int)(value & 255), n);
        } else {
            memcpy(out, &value, unit);
            for (; done * 2 <= n * unit; done *= 2)
                memcpy(out + done, out, done);
            memcpy(out + done, out, n * unit - done);
        }
    }
    if (moves)
        write_reg(m, UC_X86_REG_RSI, from + n * unit);
    write_reg(m, UC_X86_REG_RDI, to + n * unit);
    write_reg(m, UC_X86_REG_RCX, count - n);
    m->budget -= n;
}
