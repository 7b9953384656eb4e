/* The facts of many module files, read by as many threads as there are processors. */
#define _GNU_SOURCE
#include "facts.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Up to here it is faster to read a file whole than to read what is needed of it. */
#define SMALL (32u << 10)
#define THREADS 64

struct place {
    uint32_t thread, is_left;
    size_t start;
    uint32_t sizes[FIELDS];
};

struct work {
    const char **paths;
    struct place *places;
    uint32_t count;
    atomic_uint next;
};

struct worker {
    struct work *work;
    uint32_t number;
    struct buffer facts, file;
    struct reader reader;
    pthread_t thread;
};

static int read_module(struct worker *worker, int fd, uint32_t sizes[FIELDS])
{
    struct reader *reader = &worker->reader;
    struct stat status;
    uint8_t head[8];
    if (fstat(fd, &status) || !S_ISREG(status.st_mode) || status.st_size < (off_t)sizeof(head) ||
        pread(fd, head, sizeof(head), 0) != sizeof(head))
        return -1;
    if (memcmp(head, "\177ELF", 4)) /* packed, perhaps: that is Python's affair, and its libraries' */
        return -1;
    reader->fd = fd;
    reader->size = (uint64_t)status.st_size;
    reader->data = NULL;
    if (reader->size <= SMALL) {
        worker->file.size = 0;
        uint8_t *to = take(&worker->file, reader->size);
        if (!to || read_file(fd, to, 0, reader->size))
            return -1;
        reader->data = to;
    }
    return read_facts(reader, &worker->facts, sizes);
}

static void *run(void *argument)
{
    struct worker *worker = argument;
    struct work *work = worker->work;
    for (uint32_t i; (i = atomic_fetch_add(&work->next, 1)) < work->count;) {
        struct place *place = &work->places[i];
        place->thread = worker->number;
        place->start = worker->facts.size;
        int fd = open(work->paths[i], O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        place->is_left = fd < 0 || read_module(worker, fd, place->sizes);
        if (fd >= 0)
            close(fd);
        if (place->is_left) {
            worker->facts.size = place->start;
            memset(place->sizes, 0, sizeof(place->sizes));
        }
    }
    return NULL;
}

static void assemble(const struct work *work, const struct worker *workers, struct buffer *facts, struct buffer *left)
{
    put(facts, &work->count, 4);
    for (uint32_t i = 0; i < work->count; i++) {
        put(facts, work->places[i].sizes, sizeof(work->places[i].sizes));
        if (work->places[i].is_left)
            put(left, &i, sizeof(i));
    }
    for (uint32_t i = 0; i < work->count; i++) {
        const struct place *place = &work->places[i];
        size_t size = 0;
        for (int field = 0; field < FIELDS; field++)
            size += place->sizes[field];
        if (size)
            put(facts, workers[place->thread].facts.data + place->start, size);
    }
}

/* Reads the modules at `paths` (each ends with NUL). `facts` becomes their facts in one piece, `left` the numbers (u32)
 * of those that Python has to read. -1 when memory ran out. */
VISIBLE int kobox_gather(const char *paths, uint32_t count, uint32_t threads, struct buffer *facts, struct buffer *left)
{
    struct work work = {.count = count};
    threads = threads < 1 ? 1 : threads > THREADS ? THREADS : threads;
    struct worker *workers = calloc(threads, sizeof(*workers));
    work.paths = malloc((count + 1) * sizeof(*work.paths));
    work.places = calloc(count + 1, sizeof(*work.places));
    int failed = !workers || !work.paths || !work.places;
    for (uint32_t i = 0; !failed && i < count; i++, paths += strlen(paths) + 1)
        work.paths[i] = paths;
    uint32_t started = 1;
    for (uint32_t i = 0; !failed && i < threads; i++) {
        workers[i].work = &work;
        workers[i].number = i;
        if (i && started == i && !pthread_create(&workers[i].thread, NULL, run, &workers[i]))
            started++;
    }
    if (!failed)
        run(&workers[0]);
    for (uint32_t i = 0; !failed && i < threads; i++) {
        if (i && i < started)
            pthread_join(workers[i].thread, NULL);
        failed |= workers[i].facts.failed;
    }
    if (!failed)
        assemble(&work, workers, facts, left);
    for (uint32_t i = 0; workers && i < threads; i++) {
        free(workers[i].facts.data);
        free(workers[i].file.data);
        reader_free(&workers[i].reader);
    }
    free(workers);
    free(work.paths);
    free(work.places);
    return failed || facts->failed || left->failed ? -1 : 0;
}

/* The same for one module that is in memory already, unpacked. -1: Python has to read it. */
VISIBLE int kobox_facts(const uint8_t *data, size_t size, struct buffer *facts)
{
    struct reader reader = {.data = data, .size = size};
    const uint32_t one = 1;
    uint32_t sizes[FIELDS];
    struct buffer fields = {0};
    int status = read_facts(&reader, &fields, sizes);
    reader_free(&reader);
    if (!status) {
        put(facts, &one, 4);
        put(facts, sizes, sizeof(sizes));
        put(facts, fields.data, fields.size);
    }
    free(fields.data);
    return status || facts->failed ? -1 : 0;
}

VISIBLE void kobox_free(struct buffer *buffer)
{
    free(buffer->data);
    memset(buffer, 0, sizeof(*buffer));
}
