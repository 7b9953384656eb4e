/* The large indexes of a tree, made from the facts of its modules: aliases, symbols, dependencies, each a text and a trie.
 *
 * Modules are numbered in their order. Which module exports a symbol: of several the last. modules.symbols comes in the
 * order of kmod's hash table of 2,048 buckets, by name in each, so its hash function is here too.
 *
 * A module needs those that export the symbols it imports. The numbers that sort dependencies in modules.dep come from
 * taking modules away that nobody (any more) needs, the last found first (Kahn's algorithm with a stack, as depmod
 * does it); so every module has a smaller number than what it needs. */
#include "native.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS 2048
#define UNSORTED 0x80000000u

/* Results; LEFT_OUT are the keys that a trie cannot hold, each with NUL. */
enum result { DEP, DEP_TRIE, ALIAS, ALIAS_TRIE, SYMBOLS, SYMBOLS_TRIE, DEP_LEFT_OUT, ALIAS_LEFT_OUT, SYMBOLS_LEFT_OUT, CYCLES };
enum status { DONE, NO_MEMORY, CYCLE };

struct job {
    struct facts facts;
    struct span *names, *paths;
    char prefix; /* what stands before each symbol, 0 for nothing */
    struct names owners;
    struct buffer *results;
    enum status status;
};

/* Paul Hsieh's SuperFastHash, http://www.azillionmonkeys.com/qed/hash.html; 16-bit reads are little-endian, and the odd
 * byte is a signed char, as on the machines that Debian's module trees are built on. */
static uint32_t superfasthash(struct span key)
{
    const uint8_t *at = key.data;
    uint32_t state = (uint32_t)key.size;
    if (!key.size)
        return 0;
    for (size_t words = key.size / 4; words--; at += 4) {
        state += at[0] | at[1] << 8;
        state = state << 16 ^ (uint32_t)(at[2] | at[3] << 8) << 11 ^ state;
        state += state >> 11;
    }
    switch (key.size & 3) {
    case 3:
        state += at[0] | at[1] << 8;
        state ^= state << 16;
        state ^= (uint32_t)(int8_t)at[2] << 18;
        state += state >> 11;
        break;
    case 2:
        state += at[0] | at[1] << 8;
        state ^= state << 11;
        state += state >> 17;
        break;
    case 1:
        state += (uint32_t)(int8_t)at[0];
        state ^= state << 10;
        state += state >> 1;
    }
    state ^= state << 3;
    state += state >> 5;
    state ^= state << 4;
    state += state >> 17;
    state ^= state << 25;
    state += state >> 6;
    return state;
}

VISIBLE uint32_t kobox_superfasthash(const uint8_t *data, size_t size)
{
    return superfasthash((struct span){data, size});
}

/* The next of the names that are joined by NUL in `rest`; 0 behind the last. Nothing at all is one empty name. */
static int next_name(struct span *rest, struct span *name)
{
    if (!rest->data)
        return 0;
    const uint8_t *stop = rest->size ? memchr(rest->data, 0, rest->size) : NULL;
    *name = (struct span){rest->data, stop ? (size_t)(stop - rest->data) : rest->size};
    *rest = stop ? (struct span){stop + 1, rest->size - name->size - 1} : (struct span){NULL, 0};
    return 1;
}

static struct span without(struct span name, char prefix)
{
    return prefix && name.size && name.data[0] == (uint8_t)prefix ? (struct span){name.data + 1, name.size - 1} : name;
}

static void put_text(struct buffer *out, const char *text)
{
    put(out, text, strlen(text));
}

static void put_span(struct buffer *out, struct span span)
{
    put(out, span.data, span.size);
}

static void put_number(struct buffer *out, uint32_t number)
{
    uint8_t bytes[4] = {(uint8_t)(number >> 24), (uint8_t)(number >> 16), (uint8_t)(number >> 8), (uint8_t)number};
    put(out, bytes, 4);
}

/* The value of a key that stands for a module: its number, its name and NUL. */
static void put_value(struct buffer *out, uint32_t number, struct span name)
{
    put_number(out, number);
    put_span(out, name);
    put(out, "", 1);
}

/* An entry whose parts are still places in buffers that grow. */
struct draft {
    size_t key, key_size, value, value_size;
};

/* Makes the trie of the drafts (in a buffer) whose keys and values lie in the others. */
static enum status finish(struct job *job, enum result where, struct buffer *drafts, const struct buffer *keys,
                          const struct buffer *values)
{
    size_t count = drafts->size / sizeof(struct draft);
    const struct draft *draft = (const struct draft *)drafts->data;
    struct entry *entries = malloc((count + 1) * sizeof(*entries));
    int failed = !entries || drafts->failed || keys->failed || values->failed;
    for (size_t i = 0; !failed && i < count; i++) {
        entries[i].key = (struct span){keys->data + draft[i].key, draft[i].key_size};
        entries[i].value = (struct span){values->data + draft[i].value, draft[i].value_size};
    }
    struct buffer *left_out = &job->results[where == ALIAS_TRIE ? ALIAS_LEFT_OUT : DEP_LEFT_OUT];
    if (!failed)
        trie(entries, count, &job->results[where], left_out);
    free(entries);
    return failed || job->results[where].failed || left_out->failed ? NO_MEMORY : DONE;
}

/* Appends an alias with dashes made underscores, except in brackets; 0 when brackets do not match, which no pattern
 * matcher understands. */
static int put_alias(struct buffer *out, struct span alias)
{
    uint8_t *to = take(out, alias.size);
    int inside = 0;
    for (size_t i = 0; to && i < alias.size; i++) {
        uint8_t byte = alias.data[i];
        if ((byte == ']' && !inside))
            return 0;
        inside = byte == '[' ? 1 : byte == ']' ? 0 : inside;
        to[i] = byte == '-' && !inside ? '_' : byte;
    }
    return !inside;
}

static enum status aliases(struct job *job)
{
    struct buffer *text = &job->results[ALIAS], drafts = {0}, keys = {0}, values = {0};
    put_text(text, "# Aliases extracted from modules themselves.\n");
    for (uint32_t i = 0; i < job->facts.count; i++) {
        struct span rest = facts_field(&job->facts, i, ALIASES), alias;
        if (!rest.size)
            continue;
        size_t value = values.size;
        put_value(&values, i, job->names[i]);
        while (next_name(&rest, &alias)) {
            put_text(text, "alias ");
            put_span(text, alias);
            put_text(text, " ");
            put_span(text, job->names[i]);
            put_text(text, "\n");
            struct draft draft = {keys.size, alias.size, value, values.size - value};
            if (put_alias(&keys, alias))
                put(&drafts, &draft, sizeof(draft));
        }
    }
    enum status status = finish(job, ALIAS_TRIE, &drafts, &keys, &values);
    free(drafts.data);
    free(keys.data);
    free(values.data);
    return text->failed ? NO_MEMORY : status;
}

static int find_owners(struct job *job)
{
    for (uint32_t i = 0; i < job->facts.count; i++) {
        struct span rest = facts_field(&job->facts, i, EXPORTS), name;
        int is_new;
        while (rest.size && next_name(&rest, &name)) {
            int64_t at = names_add(&job->owners, without(name, job->prefix), &is_new);
            if (at < 0)
                return -1;
            job->owners.values[at] = i;
        }
    }
    return 0;
}

/* The lines of modules.symbols, for entries that are sorted by name. `symbol:` stands before each key. */
static int symbol_lines(struct job *job, const struct entry *entries)
{
    size_t count = job->owners.count, starts[BUCKETS + 1] = {0};
    uint32_t *order = malloc((count + 1) * sizeof(*order)), *hashes = malloc((count + 1) * sizeof(*hashes));
    struct buffer *text = &job->results[SYMBOLS];
    put_text(text, "# Aliases for symbols, used by symbol_request().\n");
    if (order && hashes) {
        for (size_t i = 0; i < count; i++) {
            hashes[i] = superfasthash((struct span){entries[i].key.data + 7, entries[i].key.size - 7}) % BUCKETS;
            starts[hashes[i] + 1]++;
        }
        for (int bucket = 0; bucket < BUCKETS; bucket++)
            starts[bucket + 1] += starts[bucket];
        for (size_t i = 0; i < count; i++)
            order[starts[hashes[i]]++] = (uint32_t)i;
        for (size_t i = 0; i < count; i++) {
            const struct entry *entry = &entries[order[i]];
            put_text(text, "alias ");
            put_span(text, entry->key);
            put_text(text, " ");
            put(text, entry->value.data + 4, entry->value.size - 5);
            put_text(text, "\n");
        }
    }
    int failed = !order || !hashes || text->failed;
    free(order);
    free(hashes);
    return failed ? -1 : 0;
}

static enum status symbols(struct job *job)
{
    size_t count = job->owners.count;
    struct buffer keys = {0}, values = {0};
    size_t *places = malloc((job->facts.count + 1) * sizeof(*places));
    struct entry *entries = malloc((count + 1) * sizeof(*entries));
    int failed = !places || !entries;
    for (uint32_t i = 0; !failed && i < job->facts.count; i++) {
        places[i] = values.size;
        put_value(&values, i, job->names[i]);
    }
    for (size_t i = 0; !failed && i < count; i++) {
        put_text(&keys, "symbol:");
        put_span(&keys, job->owners.spans[i]);
    }
    failed |= keys.failed || values.failed;
    const uint8_t *key = keys.data;
    for (size_t i = 0; !failed && i < count; i++) {
        uint32_t owner = job->owners.values[i];
        entries[i].key = (struct span){key, 7 + job->owners.spans[i].size};
        entries[i].value = (struct span){values.data + places[owner], 5 + job->names[owner].size};
        key += entries[i].key.size;
    }
    if (!failed)
        trie(entries, count, &job->results[SYMBOLS_TRIE], &job->results[SYMBOLS_LEFT_OUT]);
    if (!failed && symbol_lines(job, entries))
        failed = 1;
    free(places);
    free(entries);
    free(keys.data);
    free(values.data);
    return failed || job->results[SYMBOLS_TRIE].failed || job->results[SYMBOLS_LEFT_OUT].failed ? NO_MEMORY : DONE;
}

/* Which module uses which: those of module i are used[starts[i]] to used[starts[i + 1]], in the order of its imports. */
struct uses {
    struct buffer used;
    size_t *starts;
    uint32_t *numbers; /* see above; UNSORTED in and below cycles */
    uint32_t *marks;   /* for what has been seen: the module it was seen for, plus 1 */
    uint32_t *work;
};

static const uint32_t *used_by(const struct uses *uses, uint32_t module, size_t *count)
{
    *count = uses->starts[module + 1] - uses->starts[module];
    return (const uint32_t *)uses->used.data + uses->starts[module];
}

static void find_uses(struct job *job, struct uses *uses)
{
    uses->starts[0] = 0;
    for (uint32_t i = 0; i < job->facts.count; i++) {
        struct span rest = facts_field(&job->facts, i, NEEDS), name;
        while (next_name(&rest, &name)) {
            /* On 64-bit PowerPC `.foo` is the code of the function that `foo` describes. */
            int64_t at = names_find(&job->owners, without(without(name, job->prefix), '.'));
            uint32_t owner = at < 0 ? 0 : job->owners.values[at];
            if (at < 0 || uses->marks[owner] == i + 1)
                continue;
            uses->marks[owner] = i + 1;
            put(&uses->used, &owner, sizeof(owner));
        }
        uses->starts[i + 1] = uses->used.size / sizeof(uint32_t);
    }
}

/* Gives modules their numbers; how many got one. */
static uint32_t sort_modules(struct uses *uses, uint32_t count)
{
    uint32_t *users = uses->marks, *stack = uses->work, place = 0;
    size_t depth = 0, below;
    memset(users, 0, count * sizeof(*users));
    for (size_t i = 0; i < uses->starts[count]; i++)
        users[((const uint32_t *)uses->used.data)[i]]++;
    for (uint32_t i = 0; i < count; i++) {
        uses->numbers[i] = UNSORTED;
        if (!users[i])
            stack[depth++] = i;
    }
    while (depth) {
        uint32_t module = stack[--depth];
        const uint32_t *used = used_by(uses, module, &below);
        uses->numbers[module] = place++;
        for (size_t i = 0; i < below; i++)
            if (!--users[used[i]])
                stack[depth++] = used[i];
    }
    return place;
}

static int by_number(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return left < right ? -1 : left > right;
}

/* All that a module needs, directly or not, users first: number in the upper half, module in the lower. */
static size_t everything(const struct uses *uses, uint32_t module, uint64_t *found)
{
    size_t count = 0, below;
    for (size_t done = 0, current = module;; current = (uint32_t)found[done++]) {
        const uint32_t *used = used_by(uses, (uint32_t)current, &below);
        for (size_t i = 0; i < below; i++)
            if (uses->marks[used[i]] != module + 1) {
                uses->marks[used[i]] = module + 1;
                found[count++] = (uint64_t)uses->numbers[used[i]] << 32 | used[i];
            }
        if (done == count)
            break;
    }
    qsort(found, count, sizeof(*found), by_number);
    return count;
}

static enum status dependency_lines(struct job *job, struct uses *uses)
{
    struct buffer *text = &job->results[DEP], drafts = {0}, keys = {0}, values = {0};
    uint64_t *found = malloc((job->facts.count + 1) * sizeof(*found));
    memset(uses->marks, 0, job->facts.count * sizeof(*uses->marks));
    for (uint32_t i = 0; found && i < job->facts.count; i++) {
        size_t below = everything(uses, i, found), start = text->size;
        put_span(text, job->paths[i]);
        put_text(text, ":");
        for (size_t j = 0; j < below; j++) {
            put_text(text, " ");
            put_span(text, job->paths[(uint32_t)found[j]]);
        }
        struct draft draft = {keys.size, job->names[i].size, values.size, text->size - start + 5};
        if (!text->failed)
            put_value(&values, i, (struct span){text->data + start, text->size - start});
        put_text(text, "\n");
        put_span(&keys, job->names[i]);
        put(&drafts, &draft, sizeof(draft));
    }
    enum status status = found && !text->failed ? finish(job, DEP_TRIE, &drafts, &keys, &values) : NO_MEMORY;
    free(found);
    free(drafts.data);
    free(keys.data);
    free(values.data);
    return status;
}

/* What Python needs to tell of cycles: the number of each module, how many each uses, and which. */
static void tell_cycles(struct job *job, const struct uses *uses)
{
    struct buffer *out = &job->results[CYCLES];
    put(out, uses->numbers, job->facts.count * sizeof(*uses->numbers));
    for (uint32_t i = 0; i < job->facts.count; i++) {
        uint32_t below = (uint32_t)(uses->starts[i + 1] - uses->starts[i]);
        put(out, &below, sizeof(below));
    }
    put(out, uses->used.data, uses->used.size);
}

static enum status dependencies(struct job *job)
{
    struct uses uses = {0};
    size_t room = job->facts.count + 1;
    enum status status = NO_MEMORY;
    uses.starts = malloc(room * sizeof(*uses.starts));
    uses.numbers = malloc(room * sizeof(*uses.numbers));
    uses.marks = calloc(room, sizeof(*uses.marks));
    uses.work = malloc(room * sizeof(*uses.work));
    if (uses.starts && uses.numbers && uses.marks && uses.work)
        find_uses(job, &uses);
    else
        uses.used.failed = 1;
    if (!uses.used.failed && sort_modules(&uses, job->facts.count) < job->facts.count) {
        tell_cycles(job, &uses);
        status = job->results[CYCLES].failed ? NO_MEMORY : CYCLE;
    } else if (!uses.used.failed) {
        status = dependency_lines(job, &uses);
    }
    free(uses.used.data);
    free(uses.starts);
    free(uses.numbers);
    free(uses.marks);
    free(uses.work);
    return status;
}

static void *symbols_and_dependencies(void *argument)
{
    struct job *job = argument;
    job->status = find_owners(job) ? NO_MEMORY : dependencies(job);
    if (job->status == DONE)
        job->status = symbols(job);
    return NULL;
}

static void *only_aliases(void *argument)
{
    struct job *job = argument;
    job->status = aliases(job);
    return NULL;
}

static struct span *split(const char *joined, uint32_t count)
{
    struct span *spans = malloc((count + (size_t)1) * sizeof(*spans));
    for (uint32_t i = 0; spans && i < count; i++) {
        spans[i] = (struct span){(const uint8_t *)joined, strlen(joined)};
        joined += spans[i].size + 1;
    }
    return spans;
}

/* Makes the six files. `names` and `paths` are those of the modules, each ending with NUL; there are as many as `data`
 * has facts. Returns an enum status: with CYCLE see tell_cycles(). */
VISIBLE int kobox_indexes(const uint8_t *data, size_t size, const char *names, const char *paths, int prefix, int threads,
                          struct buffer *results)
{
    struct facts facts;
    int failed = facts_open(&facts, data, size);
    struct span *name = failed ? NULL : split(names, facts.count), *path = failed ? NULL : split(paths, facts.count);
    struct job first = {.facts = facts, .names = name, .paths = path, .prefix = (char)prefix, .results = results}, second;
    second = first;
    first.status = second.status = NO_MEMORY;
    if (name && path) {
        pthread_t thread;
        int apart = threads > 1 && !pthread_create(&thread, NULL, only_aliases, &second);
        symbols_and_dependencies(&first);
        if (apart)
            pthread_join(thread, NULL);
        else
            only_aliases(&second);
    }
    names_free(&first.owners);
    free(name);
    free(path);
    free(facts.starts);
    return (int)(first.status ? first.status : second.status);
}

/* The trie of `count` entries: keys one behind the other and their sizes, and so the values. For `left_out` see trie(). */
VISIBLE int kobox_trie(const uint8_t *keys, const uint32_t *key_sizes, const uint8_t *values, const uint32_t *value_sizes,
                       uint32_t count, struct buffer *out, struct buffer *left_out)
{
    struct entry *entries = malloc((count + (size_t)1) * sizeof(*entries));
    if (!entries)
        return NO_MEMORY;
    for (uint32_t i = 0; i < count; i++) {
        entries[i] = (struct entry){{keys, key_sizes[i]}, {values, value_sizes[i]}};
        keys += key_sizes[i];
        values += value_sizes[i];
    }
    trie(entries, count, out, left_out);
    free(entries);
    return out->failed || left_out->failed ? NO_MEMORY : DONE;
}

VISIBLE int kobox_abi(void);

VISIBLE int kobox_abi(void)
{
    return 2;
}
