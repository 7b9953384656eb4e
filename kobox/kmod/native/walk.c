/* The module files of a directory and of all below it. */
#define _GNU_SOURCE
#include "native.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What tells whether a file is still the same: size, both times in nanoseconds, inode, device. */
struct stamp {
    uint64_t size, modified, changed, inode, device;
};

struct found {
    size_t path, name; /* in the worker's texts, each ending with NUL; pointers when all are there */
    struct stamp stamp;
};

/* A directory that a symbolic link led to. */
struct seen {
    dev_t device;
    ino_t inode;
};

/* What the threads share: the directories still to be gone through, by their paths, which whoever takes one frees. */
struct walk {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct buffer places, seen;
    uint32_t threads, idle;
    int root, stamps;
    struct names excluded;
};

struct worker {
    struct walk *walk;
    pthread_t thread;
    struct buffer texts, found, below, unread;
    int failed;
};

/* The length of the file's name without what says that it is a module; 0 when nothing does. */
static size_t stem(const char *name)
{
    static const char *const packed[] = {".ko", ".ko.gz", ".ko.xz", ".ko.zst", ".ko.lz4"};
    size_t length = strlen(name);
    for (size_t i = 0; i < sizeof(packed) / sizeof(*packed); i++) {
        size_t size = strlen(packed[i]);
        if (length > size && !strcmp(name + length - size, packed[i]))
            return length - size;
    }
    return 0;
}

/* Whether an earlier link led to the same directory: links may run in circles. */
static int was_seen(struct walk *walk, const struct stat *status)
{
    int found = 0;
    pthread_mutex_lock(&walk->lock);
    const struct seen *all = (const struct seen *)walk->seen.data;
    for (size_t i = 0; i < walk->seen.size / sizeof(*all); i++)
        found |= all[i].device == status->st_dev && all[i].inode == status->st_ino;
    struct seen seen = {status->st_dev, status->st_ino};
    if (!found)
        put(&walk->seen, &seen, sizeof(seen));
    pthread_mutex_unlock(&walk->lock);
    return found;
}

/* The path of an entry of the directory at `place`, with NUL, to be put there. */
static void join_path(uint8_t *to, const char *place, const char *name)
{
    size_t lead = strlen(place);
    memcpy(to, place, lead);
    if (lead)
        to[lead++] = '/';
    memcpy(to + lead, name, strlen(name) + 1);
}

static size_t path_size(const char *place, const char *name)
{
    return strlen(place) + !!*place + strlen(name) + 1;
}

static void put_module(struct worker *worker, const char *place, const char *name, size_t length,
                       const struct stat *status)
{
    struct found found = {.path = worker->texts.size};
    uint8_t *to = take(&worker->texts, path_size(place, name));
    if (to)
        join_path(to, place, name);
    found.name = worker->texts.size;
    if ((to = take(&worker->texts, length + 1))) {
        for (size_t i = 0; i < length; i++)
            to[i] = name[i] == '-' ? '_' : (uint8_t)name[i];
        to[length] = 0;
    }
    if (status)
        found.stamp = (struct stamp){
            (uint64_t)status->st_size,
            (uint64_t)status->st_mtim.tv_sec * 1000000000u + (uint64_t)status->st_mtim.tv_nsec,
            (uint64_t)status->st_ctim.tv_sec * 1000000000u + (uint64_t)status->st_ctim.tv_nsec,
            status->st_ino,
            status->st_dev,
        };
    put(&worker->found, &found, sizeof(found));
}

static void look_at(struct worker *worker, int directory, const char *place, const struct dirent *entry)
{
    struct walk *walk = worker->walk;
    const char *name = entry->d_name;
    struct stat status;
    size_t length = stem(name);
    int is_link = entry->d_type != DT_DIR && entry->d_type != DT_REG; /* or the file system does not tell */
    int is_directory = entry->d_type == DT_DIR, known = 0;
    if (!length) {
        int64_t excluded = names_find(&walk->excluded, (struct span){(const uint8_t *)name, strlen(name)});
        if (entry->d_type == DT_REG || !strcmp(name, ".") || !strcmp(name, "..") || excluded >= 0)
            return;
    }
    if (is_link || (length && walk->stamps)) {
        known = !fstatat(directory, name, &status, 0);
        if (is_link)
            is_directory = known && S_ISDIR(status.st_mode);
    }
    if (is_link && known && !is_directory && !S_ISREG(status.st_mode))
        return; /* a FIFO or a device, whatever it is called */
    if (length && !is_directory)
        put_module(worker, place, name, length, known ? &status : NULL);
    if (length || !is_directory || (is_link && was_seen(walk, &status)))
        return;
    char *below = malloc(path_size(place, name));
    if (below)
        join_path((uint8_t *)below, place, name);
    else
        worker->failed = 1;
    if (below)
        put(&worker->below, &below, sizeof(below));
}

/* Notes that a directory could not be listed: the errno (u32) and the path with its NUL. */
static void put_unread(struct worker *worker, const char *place, int error)
{
    uint32_t number = (uint32_t)error;
    put(&worker->unread, &number, sizeof(number));
    put(&worker->unread, place, strlen(place) + 1);
}

static void list(struct worker *worker, const char *place)
{
    int fd = openat(worker->walk->root, *place ? place : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = fd < 0 ? NULL : fdopendir(fd);
    if (!directory) {
        if (errno != ENOENT) /* it has gone since its name was read */
            put_unread(worker, place, errno);
        if (fd >= 0)
            close(fd);
        return;
    }
    for (struct dirent *entry; errno = 0, entry = readdir(directory);)
        look_at(worker, fd, place, entry);
    if (errno)
        put_unread(worker, place, errno);
    closedir(directory);
}

/* One thread's part: takes directories until there are none, and nobody is at work on one. */
static void *run(void *argument)
{
    struct worker *worker = argument;
    struct walk *walk = worker->walk;
    pthread_mutex_lock(&walk->lock);
    for (;;) {
        if (!walk->places.size) {
            if (++walk->idle == walk->threads)
                break;
            while (!walk->places.size && walk->idle < walk->threads)
                pthread_cond_wait(&walk->changed, &walk->lock);
            if (!walk->places.size)
                break;
            walk->idle--;
        }
        char *place;
        walk->places.size -= sizeof(place);
        memcpy(&place, walk->places.data + walk->places.size, sizeof(place));
        pthread_mutex_unlock(&walk->lock);
        list(worker, place);
        free(place);
        pthread_mutex_lock(&walk->lock);
        put(&walk->places, worker->below.data, worker->below.size);
        if (worker->below.size)
            pthread_cond_broadcast(&walk->changed);
        worker->below.size = 0;
    }
    pthread_cond_broadcast(&walk->changed);
    pthread_mutex_unlock(&walk->lock);
    return NULL;
}

static int by_path(const void *a, const void *b)
{
    return strcmp((const char *)((const struct found *)a)->path, (const char *)((const struct found *)b)->path);
}

/* What all workers found, sorted; 0 or -1. */
static int tell(const struct worker *workers, uint32_t threads, int stamps, struct buffer *results)
{
    struct buffer all = {0};
    int failed = 0;
    for (uint32_t i = 0; i < threads; i++) {
        const struct worker *worker = &workers[i];
        struct found *found = (struct found *)worker->found.data;
        failed |= worker->failed || worker->texts.failed || worker->found.failed || worker->below.failed ||
                  worker->unread.failed;
        for (size_t j = 0; !failed && j < worker->found.size / sizeof(*found); j++) {
            found[j].path += (size_t)worker->texts.data;
            found[j].name += (size_t)worker->texts.data;
        }
        put(&all, found, worker->found.size);
        put(&results[3], worker->unread.data, worker->unread.size);
    }
    failed |= all.failed;
    struct found *found = (struct found *)all.data;
    size_t count = all.size / sizeof(*found);
    if (!failed && count)
        qsort(found, count, sizeof(*found), by_path);
    for (size_t i = 0; !failed && i < count; i++) {
        put(&results[0], (const char *)found[i].path, strlen((const char *)found[i].path) + 1);
        put(&results[1], (const char *)found[i].name, strlen((const char *)found[i].name) + 1);
        if (stamps)
            put(&results[2], &found[i].stamp, sizeof(found[i].stamp));
    }
    free(all.data);
    return failed || results[0].failed || results[1].failed || results[2].failed || results[3].failed ? -1 : 0;
}

static int go(struct walk *walk, struct buffer *results)
{
    struct worker *workers = calloc(walk->threads, sizeof(*workers));
    char *top = calloc(1, 1);
    if (!workers || !top) {
        free(workers);
        free(top);
        return -1;
    }
    put(&walk->places, &top, sizeof(top));
    uint32_t wanted = walk->threads, started = 1;
    walk->threads = 1;
    for (uint32_t i = 0; i < wanted; i++)
        workers[i].walk = walk;
    /* The lock keeps those that start first from ending before the others are counted. */
    pthread_mutex_lock(&walk->lock);
    while (started < wanted && !pthread_create(&workers[started].thread, NULL, run, &workers[started]))
        walk->threads = ++started;
    pthread_mutex_unlock(&walk->lock);
    run(&workers[0]);
    for (uint32_t i = 1; i < started; i++)
        pthread_join(workers[i].thread, NULL);
    int status = walk->places.failed || walk->seen.failed ? -1 : tell(workers, started, walk->stamps, results);
    for (uint32_t i = 0; i < wanted; i++) {
        free(workers[i].texts.data);
        free(workers[i].found.data);
        free(workers[i].below.data);
        free(workers[i].unread.data);
    }
    free(workers);
    return status;
}

/* Finds the modules below `root`, sorted by path: results[0] becomes their paths (relative to it), [1] their names, each
 * ending with NUL, and with `stamps` [2] their stamps. Directories named in `excluded` (`count` names, each ending with
 * NUL) are not entered. results[3] are the directories that could not be listed, see put_unread(). Returns 0, an errno when the root can't be listed, -1 when memory ran out. */
VISIBLE int kobox_walk(const char *root, const char *excluded, uint32_t count, int stamps, uint32_t threads,
                       struct buffer *results)
{
    struct walk walk = {
        .lock = PTHREAD_MUTEX_INITIALIZER,
        .changed = PTHREAD_COND_INITIALIZER,
        .threads = threads,
        .root = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC),
        .stamps = stamps,
    };
    int is_new, status = 0;
    if (walk.root < 0)
        return errno;
    for (uint32_t i = 0; i < count; i++, excluded += strlen(excluded) + 1)
        if (names_add(&walk.excluded, (struct span){(const uint8_t *)excluded, strlen(excluded)}, &is_new) < 0)
            status = -1;
    if (!status)
        status = go(&walk, results);
    close(walk.root);
    free(walk.places.data);
    free(walk.seen.data);
    names_free(&walk.excluded);
    return status;
}
