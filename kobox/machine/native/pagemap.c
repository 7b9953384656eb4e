/*
 * Which pages of RAM this process has written: RAM is a private mapping, and /proc/PID/pagemap says which of its pages are no
 * longer the file's (Documentation/admin-guide/mm/pagemap.rst).
 */
#include "machine.h"

#include <fcntl.h>
#include <unistd.h>

#define PAGEMAP_PRESENT (1ull << 63)
#define PAGEMAP_SWAPPED (1ull << 62)
#define PAGEMAP_FILE (1ull << 61)

void pagemap_open(struct machine *m)
{
    m->pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    m->owner = getpid();
}

/* The pages of RAM that are no longer the snapshot file's (or, without one, that were ever written), in order. -1: the kernel
 * does not say, as where /proc is not mounted or a sandbox forbids it. */
int64_t written_pages(struct machine *m, uint64_t *list)
{
    if (m->owner != getpid()) { /* after fork(), the file still shows the parent's memory */
        if (m->pagemap >= 0)
            close(m->pagemap);
        pagemap_open(m);
    }
    uint64_t entries[512], pages = m->ram_size / PAGE, first = (uintptr_t)m->ram / PAGE;
    int64_t count = 0;
    for (uint64_t at = 0; at < pages; at += 512) {
        uint64_t n = pages - at < 512 ? pages - at : 512;
        if (m->pagemap < 0 || pread(m->pagemap, entries, n * 8, (off_t)((first + at) * 8)) != (ssize_t)(n * 8))
            return -1;
        for (uint64_t i = 0; i < n; i++)
            if (entries[i] & PAGEMAP_SWAPPED || ((entries[i] & PAGEMAP_PRESENT) && !(entries[i] & PAGEMAP_FILE)))
                list[count++] = at + i;
    }
    return count;
}
