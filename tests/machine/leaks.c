/*
 * A machine's whole life, for LeakSanitizer: made, run, probed, watched, kept, restored, closed; and one that cannot be made.
 * Usage: leaks LIBUNICORN
 */
#include "watch/heap.h"

#include <stdio.h>

struct machine *kobox_open(const char *, int, uint64_t, uint64_t, uint64_t, int, char *);
void kobox_close(struct machine *);
void kobox_start_at(struct machine *, uint64_t, uint64_t, uint64_t, uint64_t);
int kobox_run(struct machine *, uint64_t, int64_t, unsigned);
void kobox_on_probe(struct machine *, probe_callback);
int kobox_probe_add(struct machine *, uint64_t, unsigned);
void kobox_probe_remove(struct machine *, uint64_t);
struct checkpoint;
struct checkpoint *kobox_checkpoint(struct machine *);
int64_t kobox_restore(struct machine *, const struct checkpoint *);
void kobox_checkpoint_free(struct checkpoint *);
int kobox_watch_open(struct machine *, watch_callback);
int kobox_watch_code(struct machine *, uint64_t, uint64_t);
void kobox_watch_leave(struct machine *);
int kobox_watch_rule(struct machine *, const struct memory_rule *);
int kobox_watch_bounds(struct machine *, const struct bound *, size_t);
int kobox_heap_open(struct machine *, const struct heap_places *, const struct heap_size *, int);
struct object *kobox_heap_add(struct machine *, const struct object *, uint64_t);
typedef void (*step_callback)(int reason, uint64_t pc, uint64_t detail);
int kobox_step_open(struct machine *, step_callback);
int kobox_step_break(struct machine *, uint64_t, int);
typedef void (*trace_callback)(int, uint64_t);
int kobox_trace_open(struct machine *, trace_callback);
int kobox_trace_mark(struct machine *, uint64_t, unsigned);
struct function_start { uint64_t address; uint32_t number, kind; };
int kobox_profile_open(struct machine *);
int kobox_profile_functions(struct machine *, const struct function_start *, uint64_t);

enum { ENTRY = 0x400000, TABLES = 0x30000, RAM = 16 << 20 };

static void on_step(int reason, uint64_t pc, uint64_t detail) { (void)reason, (void)pc, (void)detail; }
static struct machine *probed;

static void on_probe(uint64_t address)
{
    for (uint64_t n = 0; n < 5000; n++) { /* more than there may be probes */
        kobox_probe_add(probed, ENTRY + 1 + n % 8, 0);
        kobox_probe_remove(probed, ENTRY + 1 + n % 8);
    }
    kobox_probe_remove(probed, address);
}

static int on_report(int kind, uint64_t pc, uint64_t address, uint64_t size, int access, uint64_t detail)
{
    (void)kind, (void)pc, (void)address, (void)size, (void)access, (void)detail;
    return 0;
}

/* mov eax, [rip]; inc eax; jmp back, with the first two GiB mapped as they lie. */
static void put_code(uint8_t *ram)
{
    static const uint8_t code[] = {0x8B, 0x05, 0, 0, 0, 0, 0xFF, 0xC0, 0xEB, 0xF6};
    uint64_t entry[2] = {TABLES + 0x1007, TABLES + 0x2007};
    memcpy(ram + ENTRY, code, sizeof code);
    memcpy(ram + TABLES, &entry[0], 8);
    memcpy(ram + TABLES + 0x1000, &entry[1], 8);
    for (uint64_t n = 0; n < 512; n++) {
        uint64_t large = n << 21 | 0x87;
        memcpy(ram + TABLES + 0x2000 + n * 8, &large, 8);
    }
}

static void on_trace(int reason, uint64_t address) { (void)reason, (void)address; }

static bool live(const char *library)
{
    char error[256] = "";
    struct machine *m = kobox_open(library, -1, 0, RAM, 0, 1, error);
    if (!m) {
        fprintf(stderr, "leaks: %s\n", error);
        return false;
    }
    put_code(m->ram);
    kobox_start_at(m, ENTRY, 0x10000, 0x40000, TABLES);
    probed = m;
    kobox_on_probe(m, on_probe);
    kobox_probe_add(m, ENTRY + 6, 0);
    struct checkpoint *before = kobox_checkpoint(m);
    kobox_run(m, ~0ull, 100, 0);
    struct memory_rule rule = {.address = ENTRY + 64};
    struct heap_places places = {0};
    struct heap_size size = {0};
    struct object object = {.address = ENTRY + 128, .size = 64};
    struct bound bound = {ENTRY, ENTRY + 8, ENTRY + 4};
    bool good = !kobox_watch_open(m, on_report) && !kobox_watch_code(m, ENTRY, ENTRY + 64) && !kobox_watch_rule(m, &rule) &&
                !kobox_watch_rule(m, &rule) && !kobox_watch_bounds(m, &bound, 1) && !kobox_heap_open(m, &places, &size, 1) &&
                kobox_heap_add(m, &object, 0) && !kobox_step_open(m, on_step) && !kobox_step_break(m, ENTRY + 6, 1);
    struct function_start function = {ENTRY, 1, 1};
    good &= !kobox_trace_open(m, on_trace) && !kobox_trace_mark(m, ENTRY + 6, 1);
    good &= !kobox_profile_open(m) && !kobox_profile_functions(m, &function, 1) && !kobox_profile_functions(m, &function, 1);
    kobox_run(m, ~0ull, 100, 0);
    good &= kobox_restore(m, before) >= 0;
    kobox_watch_leave(m);
    good &= !kobox_watch_code(m, ENTRY, ENTRY + 32);
    kobox_run(m, ~0ull, 100, 0);
    kobox_checkpoint_free(before);
    kobox_close(m);
    return good;
}

int main(int count, char **arguments)
{
    char error[256] = "";
    if (count != 2) {
        fprintf(stderr, "usage: leaks LIBUNICORN\n");
        return 2;
    }
    if (kobox_open("/nowhere/libunicorn.so", -1, 0, RAM, 0, 1, error) || kobox_open(arguments[1], -1, 0, 4095, 0, 1, error))
        return 1;
    for (int n = 0; n < 3; n++)
        if (!live(arguments[1]))
            return 1;
    puts("leaks: three machines lived and gave back what they took");
    return 0;
}
