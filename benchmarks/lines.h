/* What the load generator and the floor share: the clock, random numbers, and command lines on stdin. */
#ifndef LINES_H
#define LINES_H

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static inline void fail(const char *what)
{
    perror(what);
    exit(1);
}

/* CLOCK_MONOTONIC in nanoseconds: the same clock as Python's time.monotonic_ns(), in every process. */
static inline uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* User and system time of this process in microseconds. */
static inline uint64_t cpu_us(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (uint64_t)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000u
         + (uint64_t)(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
}

/* xorshift64: good enough to choose a connection, and costs nothing beside a system call. */
static inline uint64_t random64(void)
{
    static uint64_t x = 88172645463325252u;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return x;
}

/* One answer line of JSON on stdout. */
__attribute__((format(printf, 1, 2))) static inline void say(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
    fflush(stdout);
}

static inline void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        fail("getrlimit");
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        fail("setrlimit");
}

/* Reads stdin once and calls `command` with every whole line. Returns 0 at the end of the input. */
static inline int read_lines(void (*command)(char *line))
{
    static char text[4096];
    static size_t have;
    ssize_t got = read(0, text + have, sizeof text - 1 - have);
    if (got <= 0)
        return 0;
    have += (size_t)got;
    text[have] = 0;
    char *line = text, *end;
    while ((end = memchr(line, '\n', have - (size_t)(line - text)))) {
        *end = 0;
        command(line);
        line = end + 1;
    }
    have -= (size_t)(line - text);
    memmove(text, line, have);
    return have < sizeof text - 1;
}

#endif
