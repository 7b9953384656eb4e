/* Bytes that grow, and tables of strings. */
#include "native.h"

#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>

uint8_t *take(struct buffer *buffer, size_t size)
{
    if (buffer->failed)
        return NULL;
    if (size > buffer->room - buffer->size) {
        size_t room = buffer->room + buffer->room / 2 + size + 64;
        uint8_t *data = realloc(buffer->data, room);
        if (!data) {
            buffer->failed = 1;
            return NULL;
        }
        buffer->data = data;
        buffer->room = room;
    }
    buffer->size += size;
    return buffer->data + buffer->size - size;
}

void put(struct buffer *buffer, const void *data, size_t size)
{
    uint8_t *to = take(buffer, size);
    if (to && size)
        memcpy(to, data, size);
}

static uint64_t seed;

/* A hash that nobody can foresee, so that no names can be made to collide. */
__attribute__((constructor)) static void choose_seed(void)
{
    const void *random = (const void *)getauxval(AT_RANDOM);
    if (random)
        memcpy(&seed, random, sizeof(seed));
}

/* Eight bytes a step: names are some 20 bytes long. */
static uint64_t hash(struct span name)
{
    uint64_t state = seed ^ name.size, word;
    size_t left = name.size;
    const uint8_t *at = name.data;
    for (; left >= 8; left -= 8, at += 8) {
        memcpy(&word, at, 8);
        state = (state ^ word) * 0x9E3779B97F4A7C15u;
        state ^= state >> 29;
    }
    word = 0;
    memcpy(&word, at, left);
    state = (state ^ word) * 0x9E3779B97F4A7C15u;
    return state ^ state >> 32;
}

/* The slot that has the string, or the free one where it belongs. */
static size_t slot_of(const struct names *names, struct span name)
{
    size_t slot = hash(name) & names->mask;
    for (;; slot = (slot + 1) & names->mask) {
        uint64_t found = names->slots[slot];
        if (found >> 32 != names->generation || !(uint32_t)found)
            return slot;
        struct span other = names->spans[(uint32_t)found - 1];
        if (other.size == name.size && !memcmp(other.data, name.data, name.size))
            return slot;
    }
}

static int grow(struct names *names)
{
    size_t room = names->room ? 4 * names->room : 256;
    struct span *spans = realloc(names->spans, room * sizeof(*spans));
    if (spans)
        names->spans = spans;
    uint32_t *values = realloc(names->values, room * sizeof(*values));
    if (values)
        names->values = values;
    uint64_t *slots = calloc(2 * room, sizeof(*slots));
    if (!spans || !values || !slots || room > UINT32_MAX / 2) {
        free(slots);
        return -1;
    }
    free(names->slots);
    names->slots = slots;
    names->room = room;
    names->mask = 2 * room - 1;
    for (size_t i = 0; i < names->count; i++)
        slots[slot_of(names, spans[i])] = (uint64_t)names->generation << 32 | (i + 1);
    return 0;
}

int64_t names_find(const struct names *names, struct span name)
{
    if (!names->room)
        return -1;
    uint64_t found = names->slots[slot_of(names, name)];
    return found >> 32 == names->generation ? (int64_t)(uint32_t)found - 1 : -1;
}

int64_t names_add(struct names *names, struct span name, int *is_new)
{
    if (names->count == names->room && grow(names))
        return -1;
    size_t slot = slot_of(names, name);
    uint64_t found = names->slots[slot];
    *is_new = found >> 32 != names->generation || !(uint32_t)found;
    if (*is_new) {
        names->spans[names->count++] = name;
        found = names->slots[slot] = (uint64_t)names->generation << 32 | names->count;
    }
    return (int64_t)(uint32_t)found - 1;
}

void names_clear(struct names *names)
{
    names->count = 0;
    names->generation++;
}

void names_free(struct names *names)
{
    free(names->spans);
    free(names->values);
    free(names->slots);
    memset(names, 0, sizeof(*names));
}

int facts_open(struct facts *facts, const uint8_t *data, size_t size)
{
    uint32_t count, length;
    facts->starts = NULL;
    if (size < 4)
        return -1;
    memcpy(&count, data, 4);
    uint64_t fields = (uint64_t)count * FIELDS, end = 4 + 4 * fields;
    if (end > size || !(facts->starts = malloc((fields + 1) * sizeof(*facts->starts))))
        return -1;
    facts->count = count;
    facts->data = data;
    for (uint64_t i = 0; i < fields; i++) {
        memcpy(&length, data + 4 + 4 * i, 4);
        facts->starts[i] = end;
        end += length;
    }
    facts->starts[fields] = end;
    return end == size ? 0 : -1;
}

struct span facts_field(const struct facts *facts, uint32_t module, enum field field)
{
    const uint64_t *start = facts->starts + (size_t)module * FIELDS + field;
    return (struct span){facts->data + start[0], start[1] - start[0]};
}
