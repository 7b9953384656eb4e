/* What the native half of kobox.kmod is made of: depmod's inner loops. Python calls what has VISIBLE before it. */
#ifndef KOBOX_TREE_NATIVE_H
#define KOBOX_TREE_NATIVE_H

#include <stddef.h>
#include <stdint.h>

#define VISIBLE __attribute__((visibility("default")))

/* Bytes that grow. `failed` when memory ran out: then they are not to be used. */
struct buffer {
    uint8_t *data;
    size_t size, room;
    int failed;
};

void put(struct buffer *buffer, const void *data, size_t size);
/* The next `size` bytes, to be filled by the caller; NULL when memory ran out. */
uint8_t *take(struct buffer *buffer, size_t size);

/* A piece of memory that belongs to somebody else. */
struct span {
    const uint8_t *data;
    size_t size;
};

/* A table of different byte strings, each with a number, in the order in which they came. A slot holds the generation
 * in its upper half, so that clearing the table takes no time, and the place plus 1 in its lower. */
struct names {
    struct span *spans;
    uint32_t *values, generation;
    uint64_t *slots;
    size_t count, room, mask;
};

/* The place of a string in the table, -1 when it is not there. */
int64_t names_find(const struct names *names, struct span name);
/* Puts a string in, or finds the one that is there: its place, and whether it is new; -1 when memory ran out. */
int64_t names_add(struct names *names, struct span name, int *is_new);
void names_clear(struct names *names);
void names_free(struct names *names);

/* The facts of a module are fields of names joined by NUL; the last is an error's text, which only Python writes. */
enum field { ALIASES, SOFTDEPS, WEAKDEPS, EXPORTS, NEEDS, ERROR, FIELDS };

/* Facts of many modules in one piece, as kobox/kmod/index/module_facts.py draws them. */
struct facts {
    uint32_t count;
    const uint8_t *data;
    uint64_t *starts; /* of each field of each module, and the end of the last */
};

/* 0, or -1 when the sizes are not those of the data, or memory ran out. */
int facts_open(struct facts *facts, const uint8_t *data, size_t size);
struct span facts_field(const struct facts *facts, uint32_t module, enum field field);

/* One key of a trie with one value, as it stands in the file. */
struct entry {
    struct span key, value;
};

/* The trie file of these entries (which are sorted by it). Keys that it cannot hold, since a byte that is not ASCII would
 * be the number of a child, are left out: `left_out` has them, each with NUL. */
void trie(struct entry *entries, size_t count, struct buffer *out, struct buffer *left_out);

#endif
