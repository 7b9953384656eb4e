/* Kernel work that a program asks for, and work of its own: nanoseconds an operation, the best of three rounds. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char page[4096];
static int file, pair[2], zero;

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}
static int less(const void *a, const void *b) { return *(const uint32_t *)a < *(const uint32_t *)b ? -1 : 1; }

static void work_getppid(void) { syscall(SYS_getppid); }
static void work_read_zero(void) { if (read(zero, page, sizeof page) < 0) abort(); }
static void work_write_file(void) { if (pwrite(file, page, sizeof page, 0) < 0) abort(); }
static void work_stat(void) { struct stat s; if (stat("/proc/self/status", &s)) abort(); }
static void work_open(void) { close(open("/proc/self/stat", O_RDONLY)); }
static void work_pipe(void) { if (write(pair[1], page, 64) < 0 || read(pair[0], page, 64) < 0) abort(); }
static void work_socket(void) { close(socket(AF_UNIX, SOCK_STREAM, 0)); }
static void work_fault(void)
{
    char *p = mmap(0, 16 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < 16; i++)
        p[i * 4096] = 1;
    munmap(p, 16 * 4096);
}
static void work_fork(void) { pid_t p = fork(); if (!p) _exit(0); waitpid(p, 0, 0); }
static void work_proc(void)
{
    int f = open("/proc/self/status", O_RDONLY);
    if (read(f, page, sizeof page) < 0) abort();
    close(f);
}
static void work_sort(void)
{
    static uint32_t s[2000];
    for (uint32_t n = 0; n < 2000; n++) s[n] = n * 2654435761u;
    qsort(s, 2000, 4, less);
}
static void work_print(void) { snprintf(page, sizeof page, "%s %d %08lx %5.5s", "module", 4711, 0xdeadbeeful, "name"); }
static void work_malloc(void) { void *p = malloc(100); *(volatile char *)p = 1; free(p); }
static void work_list(void)
{
    static uint32_t next[4096];
    if (!next[1]) for (uint32_t i = 0; i < 4096; i++) next[i] = (i * 1664525u + 1013904223u) & 4095;
    volatile uint32_t at = 0;
    for (int i = 0; i < 1000; i++) at = next[at];
}

static const struct { const char *name; void (*work)(void); int times; } rows[] = {
    {"getppid", work_getppid, 5000}, {"read-zero", work_read_zero, 2000}, {"write-file", work_write_file, 1000},
    {"stat", work_stat, 1000}, {"open-close", work_open, 1000}, {"pipe", work_pipe, 1000}, {"socket", work_socket, 500},
    {"16-faults", work_fault, 200}, {"fork-wait", work_fork, 30}, {"proc-status", work_proc, 300},
    {"sort-2000", work_sort, 20}, {"snprintf", work_print, 2000}, {"malloc", work_malloc, 5000}, {"list-1000", work_list, 100},
};

int main(int argc, char **argv)
{
    int rounds = argc > 1 ? atoi(argv[1]) : 1;
    zero = open("/dev/zero", O_RDONLY);
    file = memfd_create("x", 0);
    if (pipe(pair)) return 1;
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint64_t best = ~0ull;
        rows[i].work();
        for (int r = 0; r < rounds; r++) {
            uint64_t t = now();
            for (int n = 0; n < rows[i].times; n++) rows[i].work();
            t = now() - t;
            best = t < best ? t : best;
        }
        printf("%s %llu\n", rows[i].name, (unsigned long long)best / rows[i].times);
    }
    return 0;
}
