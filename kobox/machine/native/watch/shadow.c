/* The shadow: what is known of each byte of RAM. */
#include "watch.h"

/* Physical address of a kernel address, UNMAPPED or NOT_RAM, by the page tables. */
uint64_t physical_by_tables(struct machine *m, uint64_t va)
{
    struct cached_page *c = &m->watch->tlb[va >> 12 & (TLB_SIZE - 1)];
    uint64_t value;
    int shift;
    bool writable;
    const uint8_t *entry = page_entry(m, address_space(m), va, &shift, &writable);
    if (!entry)
        return UNMAPPED;
    memcpy(&value, entry, 8);
    uint64_t mask = (1ull << shift) - 1, at = (value & ENTRY_ADDRESS & ~mask) | (va & mask);
    if (at >= m->ram_size)
        return NOT_RAM;
    *c = (struct cached_page){.page = va >> 12, .value = value, .entry = entry, .physical = at & ~(PAGE - 1)};
    return at;
}

/* Call Python, unless it is being called already. */
int ask_python(struct machine *m, int kind, uint64_t pc, uint64_t address, uint64_t size, int access, uint64_t detail)
{
    if (!m->watch->report || m->in_callback)
        return 0;
    spend(m, CALLBACK_COST);
    m->in_callback = true;
    int answer = m->watch->report(kind, pc, address, size, access, detail);
    m->in_callback = false;
    return answer;
}

int report_access(struct machine *m, int kind, uint64_t pc, uint64_t address, uint64_t size, int access, uint64_t detail)
{
    if (!m->watch->report || m->in_callback)
        return 0;
    int answer = ask_python(m, kind, pc, address, size, access, detail);
    m->watch->trusting = answer == 1;
    return answer;
}

/* Whether nothing is to be said or marked about 64 bytes. */
static inline bool says_nothing(const uint8_t *shadow, int access, bool to_user)
{
    uint64_t marks[8], all = 0;
    memcpy(marks, shadow, 64);
    for (int i = 0; i < 8; i++)
        all |= marks[i];
    return !(all & 0x0101010101010101ull * (FORBIDDEN | (access & INSN_WRITE || to_user ? UNWRITTEN : 0)));
}

/* Eight bytes at once, when there is nothing to say about them; what is written is marked so. */
static inline bool pass_over(uint8_t *shadow, int access, bool to_user)
{
    const uint64_t ones = 0x0101010101010101ull;
    uint64_t marks;
    memcpy(&marks, shadow, 8);
    if (marks & ones * FORBIDDEN || (to_user && marks & ones * UNWRITTEN))
        return false;
    if (access & INSN_WRITE && marks & ones * UNWRITTEN) {
        marks = (marks | marks >> 1) & ones;
        memcpy(shadow, &marks, 8);
    }
    return true;
}

/*
 * Bytes from `start` to `end` behind `pa` that nobody watched has written, and that still hold the pattern: all of them, or
 * SURE_RUN in a row, since the kernel may have written any of them, and a byte of its data is the pattern's by chance.
 */
static bool find_pattern(const struct machine *m, uint64_t pa, uint64_t start, uint64_t end, uint64_t *from, uint64_t *run)
{
    *run = 0;
    for (uint64_t i = start; i < end; i++) {
        if (m->ram[pa + i] != pattern(pa + i)) {
            if (*run >= SURE_RUN)
                return true;
            *run = 0;
        } else if (!(*run)++) {
            *from = i;
        }
    }
    return *run >= SURE_RUN || *run == end - start;
}

/* Look at `size` bytes that are about to be read or written. False: something was reported. */
bool look(struct machine *m, uint64_t pc, uint64_t address, uint64_t size, int access, bool to_user)
{
    struct watch *w = m->watch;
    if (!(address >> 63)) {
        report_access(m, REPORT_USER, pc, address, size, access, 0);
        return false;
    }
    size = no_more_than_ram(m, size);
    spend_looking(m, size, 512);
    while (size) {
        uint64_t piece = PAGE - (address & (PAGE - 1)), pa = physical(m, address);
        piece = piece < size ? piece : size;
        if (pa == UNMAPPED) {
            report_access(m, REPORT_UNMAPPED, pc, address, size, access, 0);
            return false;
        }
        if (pa == NOT_RAM)
            return true;
        uint8_t *s = w->shadow + pa;
        for (uint64_t i = 0; i < piece; i++) {
            while (i + 64 <= piece && says_nothing(s + i, access, to_user))
                i += 64;
            while (i + 8 <= piece && pass_over(s + i, access, to_user))
                i += 8;
            if (i == piece)
                break;
            if (!s[i])
                continue;
            if (s[i] & FORBIDDEN) {
                report_access(m, REPORT_SHADOW, pc, address + i, size - i, access, s[i]);
                return false;
            }
            if (access & INSN_WRITE)
                s[i] = WRITTEN_TO;
            else if (to_user && s[i] == UNWRITTEN) {
                uint64_t end = i, from = 0, run;
                while (end < piece && s[end] == UNWRITTEN)
                    end++;
                if (find_pattern(m, pa, i, end, &from, &run)) {
                    report_access(m, REPORT_UNINITIALISED, pc, address + from, run, access, 0);
                    return false;
                }
                i = end - 1;
            }
        }
        address += piece, size -= piece;
    }
    return true;
}

void mark_memory(struct machine *m, uint64_t address, uint64_t size, uint8_t mark, bool with_pattern)
{
    struct watch *w = m->watch;
    size = no_more_than_ram(m, size);
    spend_looking(m, size, 512);
    while (size) {
        uint64_t piece = PAGE - (address & (PAGE - 1)), pa = physical(m, address);
        piece = piece < size ? piece : size;
        if (pa < NOT_RAM) {
            memset(w->shadow + pa, mark, piece);
            uint64_t i = 0, word = PATTERN;
            for (; with_pattern && i < piece && (pa + i) & 7; i++)
                m->ram[pa + i] = pattern(pa + i);
            for (; with_pattern && i + 8 <= piece; i += 8)
                memcpy(m->ram + pa + i, &word, 8);
            for (; with_pattern && i < piece; i++)
                m->ram[pa + i] = pattern(pa + i);
        }
        address += piece, size -= piece;
    }
}

EXPORT void kobox_watch_mark(struct machine *m, uint64_t address, uint64_t size, unsigned mark, int with_pattern)
{
    if (m->watch)
        mark_memory(m, address, size, (uint8_t)mark, with_pattern);
}

/* The marks of `size` bytes; 0xFF where nothing is mapped. */
EXPORT void kobox_watch_marks(struct machine *m, uint64_t address, uint64_t size, uint8_t *out)
{
    if (!m->watch) {
        memset(out, 0xFF, size);
        return;
    }
    for (uint64_t i = 0; i < size; i++) {
        uint64_t pa = physical(m, address + i);
        out[i] = pa >= NOT_RAM ? 0xFF : m->watch->shadow[pa];
    }
}

/* Look at memory on behalf of code at `pc`; also from within a probe, whose callback is running. */
EXPORT void kobox_watch_look(struct machine *m, uint64_t pc, uint64_t address, uint64_t size, int access, int to_user)
{
    if (!m->watch)
        return;
    bool nested = m->in_callback;
    m->in_callback = false;
    look(m, pc, address, size, access, to_user);
    m->in_callback = nested;
    m->watch->trusting = false;
}
