/* Functions that print: whether Python has to look at what one is about to do. */
#include "watch.h"

#define LONGEST 4096 /* what has more room is Python's to look at */

/* Whether none of these bytes is one that must not be touched. */
static bool is_free_of_marks(struct machine *m, uint64_t address, uint64_t size)
{
    for (uint64_t at = address, piece; at < address + size; at += piece) {
        uint64_t pa = physical(m, at), rest = address + size - at;
        piece = PAGE - (at & (PAGE - 1));
        piece = piece < rest ? piece : rest;
        for (uint64_t i = 0; pa < NOT_RAM && i < piece; i++)
            if (m->watch->shadow[pa + i] & FORBIDDEN)
                return false;
    }
    return true;
}

static bool has_room(struct machine *m, const struct print_rule *rule)
{
    uint64_t address = live_argument(m, rule->buffer);
    uint64_t size = rule->size < ARGUMENTS ? live_argument(m, rule->size) : LONGEST + 1;
    return address >> 63 && size <= LONGEST && is_free_of_marks(m, address, size);
}

/* The nth argument of a function with as many as its caller likes. False: there is no memory. */
static bool any_argument(struct machine *m, unsigned n, uint64_t *out)
{
    uint64_t pa = n < ARGUMENTS ? 0 : physical(m, stack_argument_at(m, n));
    *out = n < ARGUMENTS ? live_argument(m, n) : 0;
    if (n < ARGUMENTS)
        return true;
    if (pa >= NOT_RAM || pa + 8 > m->ram_size)
        return false;
    memcpy(out, m->ram + pa, 8);
    return true;
}

/* Whether a string may be read up to its NUL, or for `limit` bytes. */
static bool is_good_string(struct machine *m, uint64_t address, uint64_t limit)
{
    for (uint64_t n = 0; address >> 63 && n < limit; n++) {
        uint64_t pa = physical(m, address + n);
        if (pa >= NOT_RAM || m->watch->shadow[pa] & FORBIDDEN)
            return false;
        if (!m->ram[pa])
            break;
    }
    return true;
}

static struct format *format_at(struct watch *w, uint64_t address)
{
    struct format *f = &w->formats[(address ^ address >> 12) % FORMATS];
    return f->address == address ? f : NULL;
}

static bool has_good_strings(struct machine *m, unsigned number)
{
    const struct format *f = format_at(m->watch, live_argument(m, number));
    for (unsigned n = 0; f && n < f->count; n++) {
        uint64_t address;
        if (!any_argument(m, number + 1 + f->strings[n].argument, &address) || !is_good_string(m, address, f->strings[n].limit))
            return false;
    }
    return f != NULL;
}

/* Whether nothing is to be said of what a function is about to print. */
bool watch_fits(struct machine *m, const struct rule *rule)
{
    const struct print_rule *p = rule ? &rule->prints : NULL;
    return p && p->looks && (!(p->looks & PRINT_ROOM) || has_room(m, p)) &&
           (!(p->looks & PRINT_STRINGS) || has_good_strings(m, p->format));
}

/* ---- for Python ------------------------------------------------------------------------------------------------------------ */
EXPORT int kobox_watch_prints(struct machine *m, const struct print_rule *rule)
{
    struct rule *there = m->watch ? rule_at(m, rule->address, true) : NULL;
    if (!there || rule->buffer >= ARGUMENTS || rule->format >= ARGUMENTS)
        return -1;
    if (rule->looks & PRINT_ROOM)
        there->prints.buffer = rule->buffer, there->prints.size = rule->size;
    if (rule->looks & PRINT_STRINGS)
        there->prints.format = rule->format;
    there->prints.looks |= rule->looks;
    return 0;
}

/* A format that never changes, and which arguments behind it are strings. */
EXPORT void kobox_watch_format(struct machine *m, const struct format *format)
{
    if (m->watch && format->count <= MAX_STRINGS)
        m->watch->formats[(format->address ^ format->address >> 12) % FORMATS] = *format;
}

/* What lay in memory as a format may be another one now. */
EXPORT void kobox_watch_forget_formats(struct machine *m)
{
    if (m->watch)
        memset(m->watch->formats, 0, sizeof m->watch->formats);
}
