/* .xz files unpacked in one go: all of the data in memory before, all of the content after.
 *
 *     stream header   fd '7zXZ' 00, flags (their low byte 0, then the kind of check), CRC-32
 *     block           header (size, filters, CRC-32), LZMA2 data, padding to 4, check of the content; any number of them
 *     index           00, count, (unpadded size, content size) of each block, padding, CRC-32
 *     stream footer   CRC-32, size of the index, flags, 'YZ'
 *
 *     LZMA2           00 end; 01, 02 bytes as they are; 80.. LZMA with sizes of at most 2 MiB and 64 KiB
 *
 * That nothing has to be resumed and that the content itself is the dictionary is what makes it faster than liblzma.
 * A bit takes no branch where it can't be foretold (literals, lengths, distances), and both probabilities that may come
 * next are loaded before it is known which of them counts.
 *
 * Nothing is trusted: whatever is damaged or unusual is refused, and liblzma is asked what is wrong with it.
 * Sources: The .xz File Format 1.0.4; LZMA specification (2013), as the LZMA SDK documents it. */
#define _DEFAULT_SOURCE
#include "xz.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* A symbol has fewer than 50 bits, and each reads a byte at most: so far behind a damaged chunk's end may be read. */
#define SLACK 64
#define CHUNK 65536
#define VISIBLE __attribute__((visibility("default")))
#define DICTIONARY_MAX (128u << 20)

/* CRC-32 and CRC-64, eight bytes a step. */

static uint32_t crc32_table[8][256];
static uint64_t crc64_table[8][256];

__attribute__((constructor)) static void make_tables(void)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        uint32_t small = byte;
        uint64_t large = byte;
        for (int bit = 0; bit < 8; bit++) {
            small = (small >> 1) ^ (small & 1 ? 0xEDB88320u : 0);
            large = (large >> 1) ^ (large & 1 ? 0xC96C5795D7870F42u : 0);
        }
        crc32_table[0][byte] = small;
        crc64_table[0][byte] = large;
    }
    for (int step = 1; step < 8; step++)
        for (unsigned byte = 0; byte < 256; byte++) {
            uint32_t small = crc32_table[step - 1][byte];
            uint64_t large = crc64_table[step - 1][byte];
            crc32_table[step][byte] = (small >> 8) ^ crc32_table[0][small & 255];
            crc64_table[step][byte] = (large >> 8) ^ crc64_table[0][large & 255];
        }
}

static uint32_t load32(const uint8_t *at)
{
    return at[0] | at[1] << 8 | at[2] << 16 | (uint32_t)at[3] << 24;
}

static uint64_t load64(const uint8_t *at)
{
    return load32(at) | (uint64_t)load32(at + 4) << 32;
}

static uint32_t crc32_by_table(const uint8_t *data, size_t size, uint32_t crc)
{
    for (; size >= 8; size -= 8, data += 8) {
        uint32_t low = crc ^ load32(data), high = load32(data + 4);
        crc = crc32_table[7][low & 255] ^ crc32_table[6][low >> 8 & 255] ^ crc32_table[5][low >> 16 & 255] ^
              crc32_table[4][low >> 24] ^ crc32_table[3][high & 255] ^ crc32_table[2][high >> 8 & 255] ^
              crc32_table[1][high >> 16 & 255] ^ crc32_table[0][high >> 24];
    }
    while (size--)
        crc = (crc >> 8) ^ crc32_table[0][(crc ^ *data++) & 255];
    return crc;
}

#ifdef __x86_64__
#include <immintrin.h>

/* Four lanes of 128 bits folded by carry-less multiplication; the constants are x^n mod P, bits reversed
 * (Gopal and others, Fast CRC Computation for Generic Polynomials Using PCLMULQDQ, 2009). */
__attribute__((target("pclmul,sse4.1"))) static uint32_t crc32_folded(const uint8_t *data, size_t size, uint32_t crc)
{
    const __m128i by_512 = _mm_set_epi64x(0x01c6e41596, 0x0154442bd4);
    const __m128i by_128 = _mm_set_epi64x(0x00ccaa009e, 0x01751997d0);
    __m128i lane[4];
    for (int i = 0; i < 4; i++)
        lane[i] = _mm_loadu_si128((const __m128i *)(data + 16 * i));
    lane[0] = _mm_xor_si128(lane[0], _mm_cvtsi32_si128((int)crc));
    for (data += 64, size -= 64; size >= 64; data += 64, size -= 64)
        for (int i = 0; i < 4; i++) {
            __m128i low = _mm_clmulepi64_si128(lane[i], by_512, 0x00), high = _mm_clmulepi64_si128(lane[i], by_512, 0x11);
            lane[i] = _mm_xor_si128(_mm_xor_si128(low, high), _mm_loadu_si128((const __m128i *)(data + 16 * i)));
        }
    for (int i = 1; i < 4; i++) {
        __m128i low = _mm_clmulepi64_si128(lane[0], by_128, 0x00), high = _mm_clmulepi64_si128(lane[0], by_128, 0x11);
        lane[0] = _mm_xor_si128(_mm_xor_si128(low, high), lane[i]);
    }
    uint8_t left[16];
    _mm_storeu_si128((__m128i *)left, lane[0]);
    return crc32_by_table(data, size, crc32_by_table(left, sizeof(left), 0));
}
#endif

VISIBLE uint32_t kobox_crc32(const uint8_t *data, size_t size)
{
#ifdef __x86_64__
    if (size >= 128 && __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1"))
        return ~crc32_folded(data, size, ~0u);
#endif
    return ~crc32_by_table(data, size, ~0u);
}

static uint64_t crc64(const uint8_t *data, size_t size)
{
    uint64_t crc = ~0ull;
    for (; size >= 8; size -= 8, data += 8) {
        uint64_t word = crc ^ load64(data);
        crc = 0;
        for (int step = 0; step < 8; step++)
            crc ^= crc64_table[7 - step][word >> (8 * step) & 255];
    }
    while (size--)
        crc = (crc >> 8) ^ crc64_table[0][(crc ^ *data++) & 255];
    return ~crc;
}

/* LZMA */

#define STATES 12
#define POSITIONS 16  /* 1 << pb, at most */
#define LITERALS 16   /* 1 << (lc + lp), at most */
#define FIRST_HALF 1024

struct length_model {
    uint16_t choice[2];
    uint16_t low[POSITIONS][8], mid[POSITIONS][8], high[256];
};

struct model {
    uint16_t is_match[STATES][POSITIONS], is_rep[STATES], is_rep0[STATES], is_rep1[STATES], is_rep2[STATES];
    uint16_t is_rep0_long[STATES][POSITIONS];
    uint16_t slot[4][64], special[128], align[16];
    struct length_model match, rep;
    uint16_t literal[LITERALS][768];
};

struct lzma {
    struct model model;
    uint32_t distance[4], state;
    uint32_t literal_bits, literal_mask, position_mask; /* lc, (1 << lp) - 1, (1 << pb) - 1 */
};

static void reset_state(struct lzma *lzma)
{
    uint16_t *all = (uint16_t *)&lzma->model;
    for (size_t i = 0; i < sizeof(lzma->model) / sizeof(*all); i++)
        all[i] = FIRST_HALF;
    memset(lzma->distance, 0, sizeof(lzma->distance));
    lzma->state = 0;
}

static int set_properties(struct lzma *lzma, unsigned byte)
{
    if (byte >= 9 * 5 * 5)
        return -1;
    unsigned lc = byte % 9, lp = byte / 9 % 5, pb = byte / 45;
    if (lc + lp > 4)
        return -1;
    lzma->literal_bits = lc;
    lzma->literal_mask = (1u << lp) - 1;
    lzma->position_mask = (1u << pb) - 1;
    return 0;
}

/* The range decoder, in three local variables: `range`, `code`, `in`. */

#define NORMALIZE() \
    do { \
        if (range < 1u << 24) { \
            range <<= 8; \
            code = code << 8 | *in++; \
        } \
    } while (0)

/* Goes one way or the other: for what decides what comes next. */
#define IF_ZERO(prob) \
    NORMALIZE(); \
    p = *(prob); \
    bound = (range >> 11) * p; \
    if (code < bound)
#define ZERO(prob) (range = bound, *(prob) = (uint16_t)(p + ((2048 - p) >> 5)))
#define ONE(prob) (range -= bound, code -= bound, *(prob) = (uint16_t)(p - (p >> 5)))

/* Takes a bit without going either way. `zero` is all ones when it is 0, else 0; `p`, its probability, becomes `low` or
 * `high`, that of the bit after it; `learnt` is what becomes of its own: p + ((2048 - p) >> 5) for a 0, p - (p >> 5)
 * for a 1. */
#ifdef __x86_64__
#define TAKE() \
    do { \
        uint32_t below = code, after = high; \
        bound = (range >> 11) * p; \
        range -= bound; \
        __asm__("sub %[bound], %[below]\n\t" \
                "cmovb %[bound], %[range]\n\t" \
                "cmovae %[below], %[code]\n\t" \
                "cmovb %[low], %[after]\n\t" \
                "sbb %q[zero], %q[zero]" \
                : [range] "+&r"(range), [code] "+&r"(code), [below] "+&r"(below), [after] "+&r"(after), [zero] "=r"(zero) \
                : [bound] "r"(bound), [low] "r"(low) \
                : "cc"); \
        learnt = LEARNT(); \
        p = after; \
    } while (0)
#else
#define TAKE() \
    do { \
        bound = (range >> 11) * p; \
        zero = 0u - (uint64_t)(code < bound); \
        range = zero ? bound : range - bound; \
        code = zero ? code : code - bound; \
        learnt = LEARNT(); \
        p = zero ? low : high; \
    } while (0)
#endif
#define LEARNT() ((uint16_t)(p - (uint32_t)((int32_t)(p + (zero & (uint32_t)(31 - 2048))) >> 5)))

/* One bit of a tree: `tree` is its probabilities, `symbol` the place in it, `p` what stands there. */
#define TREE_BIT(tree) \
    do { \
        NORMALIZE(); \
        low = (tree)[2 * symbol]; \
        high = (tree)[2 * symbol + 1]; \
        TAKE(); \
        (tree)[symbol] = learnt; \
        symbol = 2 * symbol + 1 + zero; \
    } while (0)
/* The last bit of a tree, behind which none comes. */
#define TREE_END(tree) \
    do { \
        NORMALIZE(); \
        low = high = 0; \
        TAKE(); \
        (tree)[symbol] = learnt; \
        symbol = 2 * symbol + 1 + zero; \
    } while (0)
/* Bit `number` of a literal that follows a match. As long as its bits are those of `match`, the byte that the match
 * would have gone on with (`same` is all ones then, else 0), they have probabilities of their own, whose places are known
 * beforehand. */
#define MATCHED(number) (tree + 0x100 + ((match << (number) & 0x80) << 1) + ((0x100 | match) >> (8 - (number))))
#define MATCHED_BIT(number) \
    do { \
        uint32_t is_one = (uint32_t)((int32_t)(match << (24 + (number))) >> 31), own = *MATCHED((number) + 1); \
        uint16_t *at = tree + symbol + (same & (0x100 + ((match << (number) & 0x80) << 1))); \
        low = tree[2 * symbol]; \
        high = tree[2 * symbol + 1]; \
        high ^= (high ^ own) & same & is_one; \
        low ^= (low ^ own) & same & ~is_one; \
        NORMALIZE(); \
        TAKE(); \
        *at = learnt; \
        symbol = 2 * symbol + 1 + zero; \
        same &= zero ^ is_one; \
    } while (0)

/* `length` bytes from `distance` back; both are checked. They may overlap. */
static inline uint8_t *copy_match(uint8_t *out, size_t distance, size_t length, const uint8_t *room_end)
{
    const uint8_t *from = out - distance;
    uint8_t *end = out + length;
    if (distance >= 16 && (size_t)(room_end - out) >= length + 16) {
        do {
            memcpy(out, from, 16);
            out += 16;
            from += 16;
        } while (out < end);
        return end;
    }
    if (distance == 1) {
        memset(out, *from, length);
        return end;
    }
    while (out < end)
        *out++ = *from++;
    return end;
}

/* One chunk: `in` to `in_end`, followed by SLACK readable bytes, into `out` to `out_end`. The dictionary begins at `base`. */
static int lzma_chunk(struct lzma *lzma, const uint8_t *in, const uint8_t *in_end, uint8_t *base, uint8_t *out,
                      uint8_t *out_end, const uint8_t *room_end, uint32_t dictionary)
{
    struct model *model = &lzma->model;
    uint32_t state = lzma->state, rep0 = lzma->distance[0], rep1 = lzma->distance[1], rep2 = lzma->distance[2],
             rep3 = lzma->distance[3];
    const uint32_t position_mask = lzma->position_mask, literal_mask = lzma->literal_mask, lc = lzma->literal_bits;
    uint32_t range = ~0u, code, bound, p, low, high;
    uint64_t zero, symbol;
    uint16_t learnt;
    if (in_end - in < 5 || *in)
        return -1;
    code = (uint32_t)in[1] << 24 | in[2] << 16 | in[3] << 8 | in[4];
    in += 5;
    while (out < out_end) {
        uint32_t position = (uint32_t)(out - base) & position_mask, length;
        struct length_model *lengths;
        if (in > in_end)
            return -1;
        IF_ZERO(&model->is_match[state][position]) {
            ZERO(&model->is_match[state][position]);
            uint32_t before = out > base ? out[-1] : 0;
            uint16_t *tree = model->literal[(((uint32_t)(out - base) & literal_mask) << lc) + (before >> (8 - lc))];
            symbol = 1;
            if (state < 7) {
                state = state < 4 ? 0 : state - 3;
                p = tree[1];
                TREE_BIT(tree);
                TREE_BIT(tree);
                TREE_BIT(tree);
                TREE_BIT(tree);
                TREE_BIT(tree);
                TREE_BIT(tree);
                TREE_BIT(tree);
                TREE_END(tree);
            } else {
                state = state < 10 ? state - 3 : state - 6;
                uint32_t match = out[-(ptrdiff_t)rep0 - 1], same = ~0u;
                p = *MATCHED(0);
                MATCHED_BIT(0);
                MATCHED_BIT(1);
                MATCHED_BIT(2);
                MATCHED_BIT(3);
                MATCHED_BIT(4);
                MATCHED_BIT(5);
                MATCHED_BIT(6);
                NORMALIZE();
                uint16_t *at = tree + symbol + (same & (0x100 + ((match << 7 & 0x80) << 1)));
                low = high = 0;
                TAKE();
                *at = learnt;
                symbol = 2 * symbol + 1 + zero;
            }
            *out++ = (uint8_t)symbol;
            continue;
        }
        ONE(&model->is_match[state][position]);
        IF_ZERO(&model->is_rep[state]) {
            ZERO(&model->is_rep[state]);
            rep3 = rep2;
            rep2 = rep1;
            rep1 = rep0;
            state = state < 7 ? 7 : 10;
            lengths = &model->match;
        } else {
            ONE(&model->is_rep[state]);
            if (out == base)
                return -1;
            IF_ZERO(&model->is_rep0[state]) {
                ZERO(&model->is_rep0[state]);
                IF_ZERO(&model->is_rep0_long[state][position]) {
                    ZERO(&model->is_rep0_long[state][position]);
                    state = state < 7 ? 9 : 11;
                    if (rep0 >= (size_t)(out - base))
                        return -1;
                    *out = out[-(ptrdiff_t)rep0 - 1];
                    out++;
                    continue;
                }
                ONE(&model->is_rep0_long[state][position]);
            } else {
                ONE(&model->is_rep0[state]);
                uint32_t chosen;
                IF_ZERO(&model->is_rep1[state]) {
                    ZERO(&model->is_rep1[state]);
                    chosen = rep1;
                } else {
                    ONE(&model->is_rep1[state]);
                    IF_ZERO(&model->is_rep2[state]) {
                        ZERO(&model->is_rep2[state]);
                        chosen = rep2;
                    } else {
                        ONE(&model->is_rep2[state]);
                        chosen = rep3;
                        rep3 = rep2;
                    }
                    rep2 = rep1;
                }
                rep1 = rep0;
                rep0 = chosen;
            }
            state = state < 7 ? 8 : 11;
            lengths = &model->rep;
        }
        IF_ZERO(&lengths->choice[0]) {
            ZERO(&lengths->choice[0]);
            uint16_t *tree = lengths->low[position];
            symbol = 1;
            p = tree[1];
            TREE_BIT(tree);
            TREE_BIT(tree);
            TREE_END(tree);
            length = symbol - 8 + 2;
        } else {
            ONE(&lengths->choice[0]);
            IF_ZERO(&lengths->choice[1]) {
                ZERO(&lengths->choice[1]);
                uint16_t *tree = lengths->mid[position];
                symbol = 1;
                p = tree[1];
                TREE_BIT(tree);
                TREE_BIT(tree);
                TREE_END(tree);
                length = symbol - 8 + 10;
            } else {
                ONE(&lengths->choice[1]);
                uint16_t *tree = lengths->high;
                symbol = 1;
                p = tree[1];
                for (int bit = 0; bit < 7; bit++)
                    TREE_BIT(tree);
                TREE_END(tree);
                length = symbol - 256 + 18;
            }
        }
        if (lengths == &model->match) {
            uint16_t *tree = model->slot[length < 6 ? length - 2 : 3];
            symbol = 1;
            p = tree[1];
            TREE_BIT(tree);
            TREE_BIT(tree);
            TREE_BIT(tree);
            TREE_BIT(tree);
            TREE_BIT(tree);
            TREE_END(tree);
            uint32_t slot = symbol - 64;
            rep0 = slot;
            if (slot >= 14) {
                rep0 = 2 | (slot & 1);
                for (uint32_t bits = (slot >> 1) - 5; bits; bits--) {
                    NORMALIZE();
                    range >>= 1;
                    code -= range;
                    zero = 0u - (uint64_t)(code >> 31);
                    code += range & zero;
                    rep0 = 2 * rep0 + 1 + zero;
                }
                tree = model->align;
                symbol = 1;
                p = tree[1];
                TREE_BIT(tree);
                uint32_t reversed = 1 + zero;
                TREE_BIT(tree);
                reversed += 2 & ~zero;
                TREE_BIT(tree);
                reversed += 4 & ~zero;
                TREE_END(tree);
                rep0 = 16 * rep0 + reversed + (8 & ~zero);
            } else if (slot >= 4) {
                uint32_t bits = (slot >> 1) - 1, bit = 1;
                rep0 = (2 | (slot & 1)) << bits;
                /* special[] holds the trees of slots 4 to 13 one behind the other. */
                tree = model->special + rep0 - slot;
                symbol = 1;
                p = tree[1];
                for (; --bits; bit <<= 1) {
                    TREE_BIT(tree);
                    rep0 += bit & ~zero;
                }
                TREE_END(tree);
                rep0 += bit & ~zero;
            }
        }
        if (rep0 >= (size_t)(out - base) || rep0 >= dictionary || length > (size_t)(out_end - out))
            return -1;
        out = copy_match(out, (size_t)rep0 + 1, length, room_end);
    }
    NORMALIZE();
    if (in != in_end || code)
        return -1;
    lzma->state = state;
    lzma->distance[0] = rep0;
    lzma->distance[1] = rep1;
    lzma->distance[2] = rep2;
    lzma->distance[3] = rep3;
    return 0;
}

/* LZMA2 */

/* Asks for large pages: a tenth of the time goes into the faults of small ones. */
static void use_large_pages(const struct kobox_output *out)
{
    const uintptr_t page = 2 << 20;
    uintptr_t start = ((uintptr_t)out->data + page - 1) & ~(page - 1), end = ((uintptr_t)out->data + out->room) & ~(page - 1);
    if (out->room >= 4 * page && start < end)
        madvise((void *)start, end - start, MADV_HUGEPAGE);
}

static int make_room(struct kobox_output *out, size_t more, size_t limit)
{
    if (more > limit - out->size)
        return -1;
    if (out->size + more <= out->room)
        return 0;
    if (out->fixed)
        return -1;
    size_t room = out->room < 1 << 20 ? 1 << 20 : out->room;
    while (room < out->size + more)
        room += room / 2;
    uint8_t *data = realloc(out->data, room);
    if (!data)
        return -1;
    out->data = data;
    out->room = room;
    use_large_pages(out);
    return 0;
}

/* The LZMA2 data from `in`; returns where it ends, NULL when it is damaged. */
static const uint8_t *lzma2(struct lzma *lzma, const uint8_t *in, const uint8_t *end, struct kobox_output *out,
                            size_t limit, uint32_t dictionary)
{
    size_t base = out->size; /* where the dictionary begins */
    int need_dictionary = 1, need_state = 1, need_properties = 1;
    uint8_t scratch[CHUNK + SLACK];
    for (;;) {
        if (in >= end)
            return NULL;
        unsigned control = *in++;
        if (control == 0)
            return in;
        if (control >= 0xE0 || control == 1) {
            need_dictionary = 0;
            need_properties = 1;
            base = out->size;
        } else if (need_dictionary) {
            return NULL;
        }
        if (control < 0x80) {
            if (control > 2 || end - in < 2)
                return NULL;
            size_t size = (size_t)(in[0] << 8 | in[1]) + 1;
            in += 2;
            if (size > (size_t)(end - in) || make_room(out, size, limit))
                return NULL;
            memcpy(out->data + out->size, in, size);
            out->size += size;
            in += size;
            continue;
        }
        if (end - in < 5)
            return NULL;
        size_t content = ((size_t)(control & 31) << 16 | in[0] << 8 | in[1]) + 1, size = (size_t)(in[2] << 8 | in[3]) + 1;
        in += 4;
        if (control >= 0xC0) {
            if (set_properties(lzma, *in++))
                return NULL;
            need_properties = 0;
        }
        if (control >= 0xA0) {
            reset_state(lzma);
            need_state = 0;
        }
        if (need_properties || need_state || size > (size_t)(end - in) || make_room(out, content, limit))
            return NULL;
        const uint8_t *from = in;
        if ((size_t)(end - in) < size + SLACK) {
            memcpy(scratch, in, size);
            memset(scratch + size, 0, SLACK);
            from = scratch;
        }
        uint8_t *to = out->data + out->size;
        if (lzma_chunk(lzma, from, from + size, out->data + base, to, to + content, out->data + out->room, dictionary))
            return NULL;
        out->size += content;
        in += size;
    }
}

/* The container */

static const uint8_t *variable(const uint8_t *in, const uint8_t *end, uint64_t *value)
{
    *value = 0;
    for (int shift = 0; shift < 63; shift += 7) {
        if (in >= end)
            return NULL;
        *value |= (uint64_t)(*in & 127) << shift;
        if (!(*in++ & 128))
            return shift && !in[-1] ? NULL : in;
    }
    return NULL;
}

static const uint8_t *padding(const uint8_t *start, const uint8_t *in, const uint8_t *end)
{
    while ((in - start) & 3)
        if (in >= end || *in++)
            return NULL;
    return in;
}

struct block {
    uint64_t unpadded, content;
};

/* The header of a block that has LZMA2 as its only filter; returns where the data begins. */
static const uint8_t *block_header(const uint8_t *in, const uint8_t *end, uint32_t *dictionary, uint64_t claims[2])
{
    size_t size = ((size_t)*in + 1) * 4;
    if (size > (size_t)(end - in) || kobox_crc32(in, size - 4) != load32(in + size - 4))
        return NULL;
    const uint8_t *at = in + 2, *stop = in + size - 4;
    unsigned flags = in[1];
    uint64_t filter, properties;
    if (flags & 0x3F)
        return NULL;
    claims[0] = claims[1] = ~0ull;
    for (int i = 0; i < 2; i++)
        if (flags & (0x40 << i) && !(at = variable(at, stop, &claims[i])))
            return NULL;
    if (!(at = variable(at, stop, &filter)) || filter != 0x21 || !(at = variable(at, stop, &properties)) ||
        properties != 1 || at >= stop)
        return NULL;
    unsigned bits = *at++;
    if (bits > 40)
        return NULL;
    uint64_t wide = bits == 40 ? ~0u : (uint64_t)(2 | (bits & 1)) << (bits / 2 + 11);
    if (wide > DICTIONARY_MAX)
        return NULL;
    *dictionary = (uint32_t)wide;
    while (at < stop)
        if (*at++)
            return NULL;
    return stop + 4;
}

static int index_is_right(const uint8_t *start, const uint8_t *end, const struct block *blocks, size_t count,
                          const uint8_t *flags)
{
    uint64_t value;
    const uint8_t *in = variable(start + 1, end, &value);
    if (!in || value != count)
        return 0;
    for (size_t i = 0; i < count; i++) {
        if (!(in = variable(in, end, &value)) || value != blocks[i].unpadded)
            return 0;
        if (!(in = variable(in, end, &value)) || value != blocks[i].content)
            return 0;
    }
    if (!(in = padding(start, in, end)) || end - in < 16)
        return 0;
    size_t size = (size_t)(in - start);
    if (kobox_crc32(start, size) != load32(in) || load32(in + 4) != kobox_crc32(in + 8, 6))
        return 0;
    return ((uint64_t)load32(in + 8) + 1) * 4 == size + 4 && in[12] == flags[0] && in[13] == flags[1] && in[14] == 'Y' &&
           in[15] == 'Z';
}

#define BLOCKS 1024

static int stream(struct lzma *lzma, struct block *blocks, const uint8_t *data, size_t size, struct kobox_output *out,
                  size_t limit)
{
    const uint8_t *in = data + 12, *end = data + size;
    size_t count = 0;
    if (size < 32 || memcmp(data, "\xfd" "7zXZ", 6) || data[6] || load32(data + 8) != kobox_crc32(data + 6, 2))
        return -1;
    unsigned kind = data[7];
    if (kind != 0 && kind != 1 && kind != 4)
        return -1;
    size_t check = kind == 4 ? 8 : kind * 4;
    while (in < end && *in) {
        const uint8_t *start = in;
        uint32_t dictionary;
        uint64_t claims[2];
        size_t before = out->size;
        if (count == BLOCKS || !(in = block_header(in, end, &dictionary, claims)))
            return -1;
        const uint8_t *body = in;
        if (!(in = lzma2(lzma, in, end, out, limit, dictionary)))
            return -1;
        uint64_t packed = (uint64_t)(in - body), content = out->size - before;
        if ((claims[0] != ~0ull && claims[0] != packed) || (claims[1] != ~0ull && claims[1] != content))
            return -1;
        blocks[count].unpadded = (uint64_t)(in - start) + check;
        blocks[count++].content = content;
        if (!(in = padding(start, in, end)) || (size_t)(end - in) < check)
            return -1;
        if (kind == 1 && kobox_crc32(out->data + before, content) != load32(in))
            return -1;
        if (kind == 4 && crc64(out->data + before, content) != load64(in))
            return -1;
        in += check;
    }
    return in < end && index_is_right(in, end, blocks, count, data + 6) ? 0 : -1;
}

VISIBLE int kobox_xz(const uint8_t *data, size_t size, struct kobox_output *out, size_t limit)
{
    struct lzma *lzma = malloc(sizeof(*lzma));
    struct block *blocks = malloc(BLOCKS * sizeof(*blocks));
    int status = -1;
    out->size = 0;
    if (out->fixed)
        use_large_pages(out);
    if (lzma && blocks)
        status = stream(lzma, blocks, data, size, out, limit);
    free(lzma);
    free(blocks);
    return status;
}

VISIBLE int64_t kobox_xz_claim(const uint8_t *data, size_t size)
{
    if (size < 32 || memcmp(data + size - 2, "YZ", 2))
        return -1;
    uint64_t index = ((uint64_t)load32(data + size - 8) + 1) * 4, count, unpadded, content, total = 0;
    if (index > size - 24)
        return -1;
    const uint8_t *in = data + size - 12 - index, *end = data + size - 12;
    if (*in++ || !(in = variable(in, end, &count)) || count > index)
        return -1;
    while (count--) {
        if (!(in = variable(in, end, &unpadded)) || !(in = variable(in, end, &content)) || content > INT64_MAX - total)
            return -1;
        total += content;
    }
    return (int64_t)total;
}
