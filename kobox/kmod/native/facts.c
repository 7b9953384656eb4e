/* The facts of one module, as depmod needs them: out of an ELF object, 32 or 64 bit, of either byte order.
 *
 * Only what is needed is read: the section headers and their names, .modinfo, the symbols that are not local and all of
 * the symbols' names, __versions, and __ksymtab_strings where symbols have no CRCs. Every place and size is compared with
 * the file's size before anything is read there. Whatever is damaged or unusual is left to kobox.ko.elf, which says
 * what is wrong. */
#define _GNU_SOURCE
#include "facts.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define VERSION_SIZE 64
#define LARGEST (1u << 30) /* no part of a module is: what claims to be is not believed, but looked at by Python */
#define NOTHING {(const uint8_t *)"", 0}

/* What the class and the byte order make different. */
struct layout {
    int wide, swapped;
};

static uint64_t number(const struct layout *layout, const uint8_t *at, int size)
{
    uint16_t half;
    uint32_t word;
    uint64_t wide;
    if (size == 2) {
        memcpy(&half, at, 2);
        return layout->swapped ? __builtin_bswap16(half) : half;
    }
    if (size == 4) {
        memcpy(&word, at, 4);
        return layout->swapped ? __builtin_bswap32(word) : word;
    }
    memcpy(&wide, at, 8);
    return layout->swapped ? __builtin_bswap64(wide) : wide;
}

/* A field of a structure that has one form for 32 and one for 64 bits. */
#define FIELD(layout, at, type, name) \
    ((layout)->wide ? number(layout, (at) + offsetof(Elf64_##type, name), sizeof(((Elf64_##type *)0)->name)) \
                    : number(layout, (at) + offsetof(Elf32_##type, name), sizeof(((Elf32_##type *)0)->name)))

int read_file(int fd, uint8_t *to, uint64_t offset, uint64_t size)
{
    for (uint64_t done = 0; done < size;) {
        ssize_t got = pread(fd, to + done, size - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return -1;
        done += (uint64_t)got;
    }
    return 0;
}

/* `size` bytes at `offset` of the module; NULL when the file does not have them. Those of a file are in the reader's
 * buffer number `slot` until that is used again. */
static const uint8_t *get(struct reader *reader, int slot, uint64_t offset, uint64_t size)
{
    if (offset > reader->size || size > reader->size - offset)
        return NULL;
    if (reader->data || !size)
        return reader->data ? reader->data + offset : (const uint8_t *)"";
    if (size > LARGEST)
        return NULL;
    struct buffer *buffer = &reader->slots[slot];
    buffer->size = 0;
    uint8_t *to = take(buffer, size);
    return to && !read_file(reader->fd, to, offset, size) ? to : NULL;
}

struct elf {
    struct layout layout;
    const uint8_t *headers, *names;
    uint64_t count, header_size, names_size;
};

static const uint8_t *header(const struct elf *elf, uint64_t index)
{
    return elf->headers + index * elf->header_size;
}

/* The content of section `index`: 0, or -1 when the file does not have it. */
static int section(struct reader *reader, const struct elf *elf, int slot, uint64_t index, struct span *content)
{
    const uint8_t *at = header(elf, index);
    *content = (struct span)NOTHING;
    if (FIELD(&elf->layout, at, Shdr, sh_type) == SHT_NOBITS)
        return 0;
    content->size = FIELD(&elf->layout, at, Shdr, sh_size);
    content->data = get(reader, slot, FIELD(&elf->layout, at, Shdr, sh_offset), content->size);
    return content->data ? 0 : -1;
}

static int open_elf(struct reader *reader, struct elf *elf)
{
    const uint16_t one = 1;
    const int little = *(const uint8_t *)&one;
    if (reader->size < sizeof(Elf32_Ehdr))
        return -1;
    const uint8_t *head = get(reader, 0, 0, reader->size < sizeof(Elf64_Ehdr) ? reader->size : sizeof(Elf64_Ehdr));
    if (!head || memcmp(head, ELFMAG, SELFMAG) || head[EI_CLASS] < 1 || head[EI_CLASS] > 2 || head[EI_DATA] < 1 ||
        head[EI_DATA] > 2)
        return -1;
    struct layout *layout = &elf->layout;
    layout->wide = head[EI_CLASS] == ELFCLASS64;
    layout->swapped = (head[EI_DATA] == ELFDATA2LSB) != little;
    if (layout->wide && reader->size < sizeof(Elf64_Ehdr))
        return -1;
    elf->header_size = layout->wide ? sizeof(Elf64_Shdr) : sizeof(Elf32_Shdr);
    elf->count = FIELD(layout, head, Ehdr, e_shnum);
    uint64_t names = FIELD(layout, head, Ehdr, e_shstrndx);
    /* A count of 0 and a number that is SHN_XINDEX speak of more sections than fit. */
    if (FIELD(layout, head, Ehdr, e_type) != ET_REL || FIELD(layout, head, Ehdr, e_shentsize) != elf->header_size ||
        !elf->count || names >= elf->count)
        return -1;
    struct span content;
    elf->headers = get(reader, 1, FIELD(layout, head, Ehdr, e_shoff), elf->count * elf->header_size);
    if (!elf->headers || section(reader, elf, 2, names, &content))
        return -1;
    elf->names = content.data;
    elf->names_size = content.size;
    return 0;
}

/* The number of the first section of that name; 0 when there is none. `size` counts the name's NUL. */
static uint64_t find(const struct elf *elf, const char *name, size_t size)
{
    for (uint64_t index = 1; index < elf->count; index++) {
        uint64_t at = FIELD(&elf->layout, header(elf, index), Shdr, sh_name);
        if (at < elf->names_size && size <= elf->names_size - at && !memcmp(elf->names + at, name, size))
            return index;
    }
    return 0;
}

#define FIND(elf, name) find(elf, name, sizeof(name))

/* Joins names by NUL. */
static void join(struct buffer *out, int *count, const void *name, size_t size)
{
    if ((*count)++)
        put(out, "", 1);
    put(out, name, size);
}

/* The values of one key of .modinfo. */
static void values(struct span info, const char *key, struct buffer *out)
{
    int count = 0;
    size_t length = strlen(key);
    for (const uint8_t *at = info.data, *end = info.data + info.size; at < end;) {
        const uint8_t *stop = memchr(at, 0, (size_t)(end - at));
        stop = stop ? stop : end;
        if ((size_t)(stop - at) >= length && !memcmp(at, key, length))
            join(out, &count, at + length, (size_t)(stop - at) - length);
        at = stop + 1;
    }
}

/* Names with a CRC; without CONFIG_MODVERSIONS all strings of __ksymtab_strings. Only symbols have names in the string
 * table, so the table alone is searched. */
static int exports(struct reader *reader, const struct elf *elf, struct span strings, struct buffer *out)
{
    static const char mark[] = "\0__crc_";
    const size_t length = sizeof(mark) - 1;
    int count = 0;
    if (!memmem(elf->names, elf->names_size, "__ksymtab", 9))
        return 0;
    const uint8_t *at = strings.data, *end = strings.data + strings.size;
    while ((at = memmem(at, (size_t)(end - at), mark, length))) {
        const uint8_t *stop = memchr(at + 1, 0, (size_t)(end - at) - 1);
        if (!stop)
            return -1;
        join(out, &count, at + length, (size_t)(stop - at) - length);
        at = stop;
    }
    if (count)
        return 0;
    uint64_t index = FIND(elf, "__ksymtab_strings");
    struct span names = NOTHING;
    if (index && section(reader, elf, 5, index, &names))
        return -1;
    for (const uint8_t *name = names.data, *last = names.data + names.size; name < last;) {
        const uint8_t *stop = memchr(name, 0, (size_t)(last - name));
        stop = stop ? stop : last;
        if (stop > name)
            join(out, &count, name, (size_t)(stop - name));
        name = stop + 1;
    }
    return 0;
}

static int need(struct reader *reader, struct buffer *out, int *count, const uint8_t *name, size_t size)
{
    int is_new;
    if (names_add(&reader->seen, (struct span){name, size}, &is_new) < 0)
        return -1;
    if (is_new)
        join(out, count, name, size);
    return 0;
}

/* Names that must come from elsewhere: the undefined symbols, then what else __versions asks for. */
static int needs(struct reader *reader, const struct elf *elf, struct span table, uint64_t first_global,
                 struct span strings, struct buffer *out)
{
    const struct layout *layout = &elf->layout;
    const size_t size = layout->wide ? sizeof(Elf64_Sym) : sizeof(Elf32_Sym);
    const size_t info_at = layout->wide ? offsetof(Elf64_Sym, st_info) : offsetof(Elf32_Sym, st_info);
    int count = 0;
    names_clear(&reader->seen);
    /* No undefined symbol is local, and the locals come first. STT_REGISTER (13) is SPARC's. */
    for (const uint8_t *at = table.data + first_global * size, *end = table.data + table.size; at < end; at += size) {
        unsigned info = at[info_at];
        if (info < 16 || info >= 48 || (info & 15) == 13 || FIELD(layout, at, Sym, st_shndx))
            continue;
        uint64_t start = FIELD(layout, at, Sym, st_name);
        if (start >= strings.size || strings.data[strings.size - 1])
            return -1;
        const uint8_t *name = strings.data + start;
        if (need(reader, out, &count, name, strlen((const char *)name)))
            return -1;
    }
    uint64_t index = FIND(elf, "__versions");
    struct span versions = NOTHING;
    if (index && section(reader, elf, 6, index, &versions))
        return -1;
    size_t crc = layout->wide ? 8 : 4;
    for (size_t i = 0; i < versions.size / VERSION_SIZE; i++) {
        const uint8_t *name = versions.data + i * VERSION_SIZE + crc;
        if (need(reader, out, &count, name, strnlen((const char *)name, VERSION_SIZE - crc)))
            return -1;
    }
    return 0;
}

int read_facts(struct reader *reader, struct buffer *out, uint32_t sizes[FIELDS])
{
    struct elf elf;
    struct span info = NOTHING, table = NOTHING, strings = NOTHING;
    uint64_t index, first_global = 0;
    if (open_elf(reader, &elf))
        return -1;
    if ((index = FIND(&elf, ".modinfo")) && section(reader, &elf, 3, index, &info))
        return -1;
    if ((index = FIND(&elf, ".symtab"))) {
        const uint8_t *at = header(&elf, index);
        uint64_t link = FIELD(&elf.layout, at, Shdr, sh_link), size = elf.layout.wide ? sizeof(Elf64_Sym) : sizeof(Elf32_Sym);
        if (link >= elf.count || section(reader, &elf, 0, index, &table) || table.size % size ||
            section(reader, &elf, 4, link, &strings))
            return -1;
        first_global = FIELD(&elf.layout, at, Shdr, sh_info);
        first_global = first_global < table.size / size ? first_global : table.size / size;
    }
    size_t start = out->size;
    for (int field = 0; field < FIELDS; field++) {
        size_t before = out->size;
        if (field < EXPORTS)
            values(info, (const char *[]){"alias=", "softdep=", "weakdep="}[field], out);
        else if ((field == EXPORTS && exports(reader, &elf, strings, out)) ||
                 (field == NEEDS && needs(reader, &elf, table, first_global, strings, out)))
            return -1;
        sizes[field] = (uint32_t)(out->size - before);
    }
    return out->failed || out->size - start > UINT32_MAX ? -1 : 0;
}

void reader_free(struct reader *reader)
{
    for (size_t i = 0; i < sizeof(reader->slots) / sizeof(*reader->slots); i++)
        free(reader->slots[i].data);
    names_free(&reader->seen);
}
