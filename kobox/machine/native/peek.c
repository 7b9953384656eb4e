/*
 * Memory of this process that may not be mapped: read by the kernel, which says where none is. process_vm_readv(2) does it
 * in one call; where that is refused (a container's seccomp filter) or unknown (user-mode emulation), a pipe takes the bytes,
 * a page at a time, and write(2) says EFAULT.
 */
#include "machine.h"

#include <errno.h>
#include <sys/uio.h>
#include <unistd.h>

/* Bytes from `at` to the end of its page, `size` at most. */
static size_t piece_at(const uint8_t *at, size_t size)
{
    size_t piece = PAGE - ((uintptr_t)at & (PAGE - 1));
    return piece < size ? piece : size;
}

static size_t peek_by_pipe(const uint8_t *from, uint8_t *to, size_t size)
{
    int ends[2];
    size_t done = 0;
    if (pipe(ends))
        return 0;
    while (done < size) {
        ssize_t taken = write(ends[1], from + done, piece_at(from + done, size - done));
        if (taken <= 0 || read(ends[0], to + done, (size_t)taken) != taken)
            break;
        done += (size_t)taken;
    }
    close(ends[0]);
    close(ends[1]);
    return done;
}

/* Copy up to MOST_PEEKED bytes as far as they are mapped; how many that were. A page is taken wholly or not at all. */
size_t peek(const uint8_t *from, uint8_t *to, size_t size)
{
    struct iovec local = {to, size}, remote[MOST_PEEKED / PAGE + 1];
    size_t count = 0;
    for (size_t done = 0; done < size; count++) {
        remote[count] = (struct iovec){(void *)(from + done), piece_at(from + done, size - done)};
        done += remote[count].iov_len;
    }
    ssize_t copied = process_vm_readv(getpid(), &local, 1, remote, count, 0);
    if (copied < 0 && (errno == ENOSYS || errno == EPERM))
        return peek_by_pipe(from, to, size);
    return copied < 0 ? 0 : (size_t)copied;
}
