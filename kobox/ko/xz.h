/* The .xz decoder of xz.c. */
#ifndef KOBOX_XZ_H
#define KOBOX_XZ_H

#include <stddef.h>
#include <stdint.h>

/* Where the decoder writes. With `fixed` the room never grows; otherwise `data` is malloc'ed and grows as needed. */
struct kobox_output {
    uint8_t *data;
    size_t size;  /* bytes written */
    size_t room;  /* bytes there is room for */
    int fixed;
};

/* 0: `out->size` bytes are the content, its check verified. -1: the data is damaged, of a kind that is not known here
 * (other filters, other checks), or its content is larger than `limit`; liblzma then says which. */
int kobox_xz(const uint8_t *data, size_t size, struct kobox_output *out, size_t limit);

/* Bytes that the content will take according to the index at the end; -1 when there is none. A claim, no more. */
int64_t kobox_xz_claim(const uint8_t *data, size_t size);

/* The CRC-32 of .xz files, of zlib and of Ethernet. */
uint32_t kobox_crc32(const uint8_t *data, size_t size);

#endif
