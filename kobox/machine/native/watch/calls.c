/* Calls into the kernel: what its functions do with the memory that their arguments point to. */
#include "watch.h"

/* Of a string, up to and with its NUL, or the first byte that must not be touched. */
static uint64_t string_length(struct machine *m, uint64_t address, uint64_t limit)
{
    uint64_t n = 0;
    if (!(address >> 63))
        return limit ? 1 : 0;
    for (; n < limit; n++) {
        uint64_t pa = physical(m, address + n);
        if (pa >= NOT_RAM)
            return n;
        if (m->watch->shadow[pa] & FORBIDDEN || !m->ram[pa])
            return n + 1;
    }
    return n;
}

/* How far a search for `wanted` goes. */
static uint64_t found_length(struct machine *m, uint64_t address, uint8_t wanted, uint64_t limit, bool to_nul)
{
    for (uint64_t n = 0; n < limit; n++) {
        uint64_t pa = physical(m, address + n);
        if (!(address >> 63) || pa >= NOT_RAM || m->watch->shadow[pa] & FORBIDDEN || m->ram[pa] == wanted ||
            (to_nul && !m->ram[pa]))
            return n + 1;
    }
    return limit;
}

/* How far a comparison of two strings goes. */
static uint64_t compared_length(struct machine *m, uint64_t a, uint64_t b, uint64_t limit)
{
    for (uint64_t n = 0; n < limit; n++) {
        uint64_t one = physical(m, a + n), other = physical(m, b + n);
        if (!(a >> 63) || !(b >> 63) || one >= NOT_RAM || other >= NOT_RAM || m->watch->shadow[one] & FORBIDDEN ||
            m->watch->shadow[other] & FORBIDDEN || m->ram[one] != m->ram[other] || !m->ram[one])
            return n + 1;
    }
    return limit;
}

/* How far a function goes that looks for an end: at most `limit` bytes. */
static uint64_t searched_length(struct machine *m, unsigned kind, uint64_t pointer, uint64_t limit)
{
    uint64_t second = live_argument(m, 1);
    switch (kind) {
    case LENGTH_STRING:
    case LENGTH_BOUNDED_STRING: return string_length(m, pointer, limit);
    case LENGTH_FOUND: return found_length(m, pointer, (uint8_t)second, limit, false);
    case LENGTH_FOUND_IN_STRING: return found_length(m, pointer, (uint8_t)second, limit, true);
    default: return compared_length(m, live_argument(m, 0), second, limit);
    }
}

static uint64_t length_of(struct machine *m, const struct rule_part *p, uint64_t pointer)
{
    const uint64_t no_limit = 1 << 20;
    if (p->length < LENGTH_CONSTANT)
        return live_argument(m, p->length) * (p->constant ? p->constant : 1);
    if (p->length == LENGTH_CONSTANT)
        return p->constant;
    bool bounded = p->length >= LENGTH_BOUNDED_STRING;
    uint64_t limit = bounded ? no_more_than_ram(m, live_argument(m, p->length & 7u)) : no_limit;
    uint64_t length = searched_length(m, bounded ? p->length & ~7u : p->length, pointer, limit);
    spend_looking(m, length, 4);
    return length;
}

/* A copy takes what is known about its source along. */
static void copy_marks(struct machine *m, uint64_t to, uint64_t from, uint64_t size)
{
    size = no_more_than_ram(m, size);
    spend_looking(m, size, 512);
    while (size) {
        uint64_t piece = PAGE - (to & (PAGE - 1)), rest = PAGE - (from & (PAGE - 1));
        piece = rest < piece ? rest : piece;
        piece = size < piece ? size : piece;
        uint64_t target = physical(m, to), source = physical(m, from);
        if (target >= NOT_RAM || source >= NOT_RAM)
            return;
        uint8_t *known = m->watch->shadow + target, *says = m->watch->shadow + source;
        if (memchr(says, UNWRITTEN, piece))
            for (uint64_t i = 0; i < piece; i++)
                if (says[i] == UNWRITTEN && known[i] == WRITTEN_TO)
                    known[i] = UNWRITTEN;
        to += piece, from += piece, size -= piece;
    }
}

/* True: this CPU is held before what the function does, and comes here again when it goes on. */
bool apply_memory_rule(struct machine *m, const struct memory_rule *rule)
{
    uint64_t pc = m->watch->caller, lengths[3] = {0};
    for (int n = 0; n < 3 && rule->parts[n].access; n++) {
        const struct rule_part *p = &rule->parts[n];
        if (p->access == RULE_VALUE) { /* of which so many bytes go to user space */
            look_at_shown(m, pc, R_RESULT, p->constant);
            return false;
        }
        uint64_t pointer = live_argument(m, p->pointer), length = length_of(m, p, pointer);
        if (p->limit != 255) { /* as long as another part, but for its own end */
            length = lengths[p->limit];
        }
        lengths[n] = length;
        if (length >> 63) /* a negative one: it leaves whatever it begins in */
            length = 1ull << 32;
        uint8_t does = p->access & ~RULE_MAY_BE_USER;
        if (length > 1ull << 32 || !length || (!(pointer >> 63) && (does != p->access || does == RULE_OBJECT)))
            continue;
        if (does == RULE_OBJECT) { /* whatever it does with it, it must not be gone */
            uint64_t pa = physical(m, pointer);
            if (pa < NOT_RAM && m->watch->shadow[pa] & FORBIDDEN) {
                report_access(m, REPORT_SHADOW, pc, pointer, 1, INSN_READ, m->watch->shadow[pa]);
                return false;
            }
            continue;
        }
        int access = does == RULE_WRITE ? INSN_WRITE : INSN_READ;
        if (m->watch->race && race_access(m, pc, pointer, length, (uint32_t)access | ACCESS_CALLED))
            return true;
        uint64_t room = length > 8 ? stack_room(m, pc, pointer, false) : 0;
        if (room && length > room) {
            report_access(m, REPORT_LOCAL, pc, pointer + room, length - room, access, pointer);
            return false;
        }
        if (!look(m, pc, pointer, length, access, does == RULE_TO_USER)) {
            m->watch->trusting = false;
            return false;
        }
    }
    if (rule->copies)
        copy_marks(m, live_argument(m, 0), live_argument(m, 1), lengths[0]);
    return false;
}

/* Whether a rule names only arguments and parts that there are. */
static bool is_sound(const struct memory_rule *rule)
{
    for (int n = 0; n < 3; n++) {
        const struct rule_part *p = &rule->parts[n];
        if (p->access && (p->pointer >= ARGUMENTS || (p->limit != 255 && p->limit >= n)))
            return false;
    }
    return true;
}

/* What the function at an address does with memory when watched code calls it. -1: no room, or the rule is not sound. */
EXPORT int kobox_watch_rule(struct machine *m, const struct memory_rule *rule)
{
    struct rule *there = is_sound(rule) ? rule_at(m, rule->address, true) : NULL;
    if (!there)
        return -1;
    there->memory = *rule;
    return 0;
}
