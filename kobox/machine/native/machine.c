/* A machine is made, mapped, hooked and freed. */
#include "processor.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

EXPORT int kobox_abi(void) { return ABI; }

/* RAM: zero, or a private view of a file, and beside it what that file says. */
static bool map_ram(struct machine *m, int fd, uint64_t offset)
{
    int anonymous = fd < 0 ? MAP_ANONYMOUS : 0;
    void *ram = mmap(NULL, m->ram_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE | anonymous, fd, (off_t)offset);
    if (ram == MAP_FAILED)
        return false;
    m->ram = ram;
    if (fd < 0) {
        madvise(ram, m->ram_size, MADV_HUGEPAGE); /* a boot writes a third of it: some hundred page faults instead of thousands */
        return true;
    }
    void *base = mmap(NULL, m->ram_size, PROT_READ, MAP_PRIVATE | MAP_NORESERVE, fd, (off_t)offset);
    if (base == MAP_FAILED)
        return false;
    m->base = base;
    return true;
}

EXPORT void kobox_close(struct machine *m)
{
    if (m->watcher)
        m->watcher->close(m);
    if (m->taint)
        m->close_taint(m);
    close_stepper(m);
    close_tracer(m);
    close_profiler(m);
    if (m->context)
        m->api.context_free(m->context);
    if (m->uc)
        m->api.close(m->uc);
    if (m->ram)
        munmap(m->ram, m->ram_size);
    if (m->base)
        munmap((void *)m->base, m->ram_size);
    if (m->pagemap >= 0)
        close(m->pagemap);
    for (size_t i = 0; i < PROBE_SLOTS; i++)
        free(m->probes[i].native);
    list_free(&m->gone);
    list_free(&m->stale);
    list_free(&m->module_pages);
    free(m->code_pages);
    free(m->user_bits);
    free(m->offender);
    free(m->saved);
    free_cpus(m);
    free(m);
}

/* What could not be set up, or NULL. */
static const char *set_up(struct machine *m, const char *library, int ram_fd, uint64_t offset, const char **reason)
{
    m->code_pages = calloc(1, m->ram_size / PAGE / 8 + 1);
    m->user_bits = calloc(1, m->ram_size / PAGE / 8 + 1);
    if (!m->code_pages || !m->user_bits)
        return "no memory";
    if (!map_ram(m, ram_fd, offset))
        return "cannot map the guest's memory";
    if (!load_unicorn(&m->api, library, reason))
        return "cannot load libunicorn, or it lacks a function";
    if (!open_cpu(m))
        return "cannot make a Unicorn CPU";
    if (!map_board(m) || !hook_cpu(m) || !hook_blocks(m))
        return "cannot set up the machine's memory and hooks";
    if (!calibrate(m))
        return "this Unicorn keeps its CPU state elsewhere than kobox knows";
    if (!make_cpus(m, m->cpus.count))
        return "no memory";
    return NULL;
}

/*
 * A machine with `ram_size` bytes of RAM: zero, or (ram_fd >= 0) a private view of that file from `offset`; and `cpus` CPUs.
 * NULL on failure, with the reason in `error` (256 bytes).
 */
EXPORT struct machine *kobox_open(const char *library, int ram_fd, uint64_t offset, uint64_t ram_size, uint64_t epoch, int cpus,
                                  char *error)
{
    struct machine *m = calloc(1, sizeof *m);
    const char *reason = NULL;
    if (!m) {
        snprintf(error, 256, "no memory");
        return NULL;
    }
    m->ram_size = ram_size;
    m->dev.epoch = epoch;
    m->cpus.count = cpus < 1 ? 1 : cpus < MAX_CPUS ? cpus : MAX_CPUS;
    pagemap_open(m);
    reset_board(m);
    const char *what = set_up(m, library, ram_fd, offset, &reason);
    if (what) {
        snprintf(error, 256, "%s%s%s", what, reason ? ": " : "", reason ? reason : "");
        kobox_close(m);
        return NULL;
    }
    return m;
}
