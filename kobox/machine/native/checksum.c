/* Sums that find damage to a file; they are no protection from malice. */
#include "machine.h"

/* A 64-bit sum of `size` bytes (a multiple of 32) in four independent lanes: it finds damage, not malice. */
EXPORT uint64_t kobox_sum(const uint8_t *data, uint64_t size)
{
    uint64_t lane[4] = {1, 2, 3, 4}, word[4];
    for (uint64_t i = 0; i < size; i += 32) {
        memcpy(word, data + i, 32);
        for (int j = 0; j < 4; j++)
            lane[j] = ((lane[j] << 29 | lane[j] >> 35) ^ word[j]) * 0x9E3779B97F4A7C15ull;
    }
    return (lane[0] ^ lane[1] << 1) + (lane[2] ^ lane[3] << 3);
}

/* The sums of `count` runs of pages, { first page, pages } each, folded into one. */
EXPORT uint64_t kobox_sum_runs(const uint8_t *base, const uint64_t *runs, uint64_t count)
{
    uint64_t total = 0;
    for (uint64_t i = 0; i < count; i++)
        total = total * 31 + kobox_sum(base + runs[2 * i] * PAGE, runs[2 * i + 1] * PAGE);
    return total;
}

