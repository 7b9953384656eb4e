#ifndef KOBOX_TREE_FACTS_H
#define KOBOX_TREE_FACTS_H

#include "native.h"

/* Where a module's bytes come from, memory or an open file, and what is used anew for each module. */
struct reader {
    const uint8_t *data; /* NULL: from the file */
    int fd;
    uint64_t size;
    struct buffer slots[7];
    struct names seen;
};

/* Reads exactly these bytes of an open file. -1: it does not have them. */
int read_file(int fd, uint8_t *to, uint64_t offset, uint64_t size);

/* Appends a module's facts to `out`, the size of each field in `sizes`. -1: not done, and what was appended is waste. */
int read_facts(struct reader *reader, struct buffer *out, uint32_t sizes[FIELDS]);
void reader_free(struct reader *reader);

#endif
