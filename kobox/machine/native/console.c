/* What the first serial line has sent. */
#include "machine.h"

/* Console output since byte `from` of the stream; returns how many bytes were ever written. */
EXPORT uint64_t kobox_console(struct machine *m, uint64_t from, char *out, uint64_t size)
{
    if (m->console_written > CONSOLE_SIZE && from < m->console_written - CONSOLE_SIZE)
        from = m->console_written - CONSOLE_SIZE;
    for (uint64_t i = 0; i < size && from + i < m->console_written; i++)
        out[i] = m->console[(from + i) % CONSOLE_SIZE];
    return m->console_written;
}
