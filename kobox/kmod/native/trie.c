/* The trie of a modules.*.bin file, laid out as kobox/kmod/index/trie.py draws it.
 *
 * It is written from the last key to the first, so that a node comes after all that stands behind it in the file. Only
 * when all are there are the distances from the file's end known as offsets from its beginning. */
#include "native.h"

#include <stdlib.h>
#include <string.h>

#define PREFIX 0x80000000u
#define VALUES 0x40000000u
#define CHILDREN 0x20000000u

static void big_endian(uint8_t *at, uint32_t number)
{
    at[0] = (uint8_t)(number >> 24);
    at[1] = (uint8_t)(number >> 16);
    at[2] = (uint8_t)(number >> 8);
    at[3] = (uint8_t)number;
}

static int before(struct span a, struct span b, size_t shared)
{
    size_t size = a.size < b.size ? a.size : b.size;
    int order = memcmp(a.data + shared, b.data + shared, size - shared);
    return order ? order < 0 : a.size < b.size;
}

static int byte_at(struct span key, size_t depth)
{
    return depth < key.size ? key.data[depth] : -1;
}

/* Whether two keys have the same first `size` bytes; the sign of the difference otherwise. */
static int compare_beginning(struct span a, struct span b, size_t size)
{
    size_t least = a.size < b.size ? a.size : b.size;
    int order = memcmp(a.data, b.data, least < size ? least : size);
    if (order || least >= size)
        return order;
    return a.size == b.size ? 0 : a.size < b.size ? -1 : 1;
}

/* The first of the sorted entries whose first `size` bytes are not less (or, with `behind`, are more) than the key's. */
static size_t bound(const struct entry *entries, size_t count, struct span key, size_t size, int behind)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare_beginning(entries[middle].key, key, size);
        if (order < 0 || (behind && !order))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Whether a byte that is not ASCII would be the number of a child. libkmod refuses a node with such a child; inside a
 * prefix such bytes do no harm. A node stands wherever another key leaves this one, and at the root. */
static int is_not_writable(const struct entry *entries, size_t count, struct span key)
{
    for (size_t i = 0; i < key.size; i++) {
        if (!(key.data[i] & 128))
            continue;
        size_t first = bound(entries, count, key, i + 1, 0), behind = bound(entries, count, key, i + 1, 1);
        if (!i || (first && !compare_beginning(entries[first - 1].key, key, i)) ||
            (behind < count && !compare_beginning(entries[behind].key, key, i)))
            return 1;
    }
    return 0;
}

/* Copies the sorted entries that can be written; the keys of the others, each with NUL, go to `left_out`. How many are
 * written. */
static size_t choose_writable(const struct entry *entries, size_t count, struct entry *chosen, struct buffer *left_out)
{
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (is_not_writable(entries, count, entries[i].key)) {
            put(left_out, entries[i].key.data, entries[i].key.size);
            put(left_out, "", 1);
        } else {
            chosen[kept++] = entries[i];
        }
    }
    return kept;
}

/* Sorts entries whose keys share `depth` bytes; those of one key keep their order. `spare` has room for as many.
 *
 * By one byte after the other, since most keys share long beginnings; few are sorted by insertion. */
static void sort(struct entry *entries, struct entry *spare, size_t count, size_t depth)
{
    while (count > 12) {
        size_t starts[258] = {0};
        for (size_t i = 0; i < count; i++)
            starts[byte_at(entries[i].key, depth) + 2]++;
        int first = byte_at(entries[0].key, depth);
        if (starts[first + 2] == count) {
            if (first < 0)
                return;
            depth++;
            continue;
        }
        for (int byte = 1; byte < 258; byte++)
            starts[byte] += starts[byte - 1];
        for (size_t i = 0; i < count; i++)
            spare[starts[byte_at(entries[i].key, depth) + 1]++] = entries[i];
        memcpy(entries, spare, count * sizeof(*entries));
        /* Each start has moved to its bucket's end. Keys that end here are sorted; the largest of the other buckets comes
         * last and without a call, so that no keys make the calls nest deeply. */
        int largest = 0;
        for (int byte = 1; byte < 256; byte++)
            if (starts[byte + 1] - starts[byte] > starts[largest + 1] - starts[largest])
                largest = byte;
        for (int byte = 0; byte < 256; byte++)
            if (byte != largest && starts[byte + 1] - starts[byte] > 1)
                sort(entries + starts[byte], spare, starts[byte + 1] - starts[byte], depth + 1);
        count = starts[largest + 1] - starts[largest];
        entries += starts[largest];
        depth++;
    }
    for (size_t i = 1; i < count; i++) {
        struct entry entry = entries[i];
        size_t at = i;
        for (; at && before(entry.key, entries[at - 1].key, depth); at--)
            entries[at] = entries[at - 1];
        entries[at] = entry;
    }
}

/* A child of a node that is not written yet. */
struct child {
    uint8_t character;
    uint32_t flags;
    size_t distance; /* from the file's end to the child */
};

/* A node on the path from the root to the last key: its depth, its values as a run of entries, its children as the
 * top of the stack of children. */
struct level {
    size_t depth, first_value, values, first_child;
};

struct writer {
    struct buffer out; /* the file backwards: its last byte first */
    struct buffer children, levels, tables;
    const struct entry *entries;
};

static struct level *top(struct writer *writer)
{
    return (struct level *)(writer->levels.data + writer->levels.size) - 1;
}

static void push_level(struct writer *writer, struct level level)
{
    put(&writer->levels, &level, sizeof(level));
}

static void backwards(struct buffer *out, const void *data, size_t size)
{
    const uint8_t *from = data;
    uint8_t *to = take(out, size);
    if (to)
        for (size_t i = 0; i < size; i++)
            to[size - 1 - i] = from[i];
}

/* A place in the file where an offset belongs, and what it says until the file's size is known. */
struct reference {
    size_t place; /* from the file's end to the reference's beginning */
    size_t distance;
    uint32_t flags;
};

/* Writes the node, which is the last level, and takes it off; returns what it has. */
static uint32_t write_node(struct writer *writer, struct span prefix)
{
    struct level level = *top(writer);
    struct buffer *out = &writer->out;
    uint32_t flags = 0;
    if (level.values) {
        uint8_t number[4];
        for (size_t i = level.values; i--;) {
            struct span value = writer->entries[level.first_value + i].value;
            backwards(out, value.data, value.size);
        }
        big_endian(number, (uint32_t)level.values);
        backwards(out, number, 4);
        flags |= VALUES;
    }
    struct child *children = (struct child *)writer->children.data + level.first_child;
    size_t count = writer->children.size / sizeof(*children) - level.first_child;
    if (count) {
        /* They were added last to first. */
        uint8_t first = children[count - 1].character, last = children[0].character;
        size_t size = 4 * ((size_t)(last - first) + 1), end = out->size + size;
        uint8_t *table = take(out, size), bounds[2] = {first, last};
        if (table)
            memset(table, 0, size);
        for (size_t i = 0; i < count; i++) {
            struct reference reference = {end - 4 * (size_t)(children[i].character - first), children[i].distance,
                                          children[i].flags};
            put(&writer->tables, &reference, sizeof(reference));
        }
        backwards(out, bounds, 2);
        flags |= CHILDREN;
        writer->children.size = level.first_child * sizeof(*children);
    }
    if (prefix.size) {
        backwards(out, "", 1);
        backwards(out, prefix.data, prefix.size);
        flags |= PREFIX;
    }
    writer->levels.size -= sizeof(level);
    return flags;
}

static size_t children_count(const struct writer *writer)
{
    return writer->children.size / sizeof(struct child);
}

/* Writes the nodes of the path to `key` that are deeper than `shared`, making a node there if it takes one. */
static void close_below(struct writer *writer, struct span key, size_t shared)
{
    while (!writer->levels.failed && !writer->children.failed && top(writer)->depth > shared) {
        size_t depth = top(writer)->depth, first_child = top(writer)->first_child;
        size_t above = top(writer)[-1].depth;
        size_t parent = above < shared ? shared : above;
        struct span prefix = {key.data + parent + 1, depth - parent - 1};
        uint32_t flags = write_node(writer, prefix);
        if (above < shared)
            push_level(writer, (struct level){shared, 0, 0, first_child});
        struct child child = {key.data[parent], flags, writer->out.size};
        put(&writer->children, &child, sizeof(child));
    }
}

static void lay_out(struct writer *writer, size_t count)
{
    push_level(writer, (struct level){0, 0, 0, 0});
    struct span last = {(const uint8_t *)"", 0};
    while (count && !writer->levels.failed) {
        size_t end = count--;
        struct span key = writer->entries[count].key;
        while (count && writer->entries[count - 1].key.size == key.size &&
               !memcmp(writer->entries[count - 1].key.data, key.data, key.size))
            count--;
        size_t shared = 0, most = key.size < last.size ? key.size : last.size;
        while (shared < most && key.data[shared] == last.data[shared])
            shared++;
        close_below(writer, last, shared);
        if (writer->levels.failed)
            return;
        if (key.size == top(writer)->depth) {
            top(writer)->first_value = count;
            top(writer)->values = end - count;
        } else {
            push_level(writer, (struct level){key.size, count, end - count, children_count(writer)});
        }
        last = key;
    }
    close_below(writer, last, 0);
}

void trie(struct entry *entries, size_t count, struct buffer *out, struct buffer *left_out)
{
    struct entry *spare = malloc((count + 1) * sizeof(*spare));
    if (!spare) {
        out->failed = 1;
        return;
    }
    sort(entries, spare, count, 0);
    struct writer writer = {.entries = spare};
    lay_out(&writer, choose_writable(entries, count, spare, left_out));
    uint32_t flags = writer.levels.failed || writer.children.failed ? 0 : write_node(&writer, (struct span){NULL, 0});
    uint8_t header[12];
    big_endian(header, 0xB007F457);
    big_endian(header + 4, 0x00020001);
    big_endian(header + 8, flags | sizeof(header));
    backwards(&writer.out, header, sizeof(header));
    size_t size = writer.out.size;
    int failed = writer.out.failed || writer.levels.failed || writer.children.failed || writer.tables.failed;
    uint8_t *file = failed ? NULL : take(out, size);
    if (file) {
        for (size_t i = 0; i < size; i++)
            file[i] = writer.out.data[size - 1 - i];
        const struct reference *references = (const struct reference *)writer.tables.data;
        for (size_t i = 0; i < writer.tables.size / sizeof(*references); i++)
            big_endian(file + size - references[i].place,
                       references[i].flags | (uint32_t)(size - references[i].distance));
    }
    out->failed |= failed;
    free(spare);
    free(writer.out.data);
    free(writer.levels.data);
    free(writer.children.data);
    free(writer.tables.data);
}
