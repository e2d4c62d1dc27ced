/* What the clients saw, one entry after the other in a file; chaos/ledgers.py reads it. */
#ifndef LEDGER_H
#define LEDGER_H

#include "lines.h"

#include <string.h>

enum what { PUSHED, BOUND_AGAIN, LOST };

struct entry {
    uint64_t ns;      /* CLOCK_MONOTONIC */
    uint32_t client;
    uint32_t number;  /* PUSHED: of the push; LOST: what the server said, an index into REASONS */
    uint32_t id;      /* PUSHED: hash of the push id, 0 without one; LOST: 1 amid a message, or with an answer owed */
    uint32_t what;
};

static const char *const REASONS[] = {
    "nothing said", "replaced", "shutdown", "worker_lost", "slow_consumer", "heartbeat_timeout", "hello_timeout",
    "unavailable", "kicked", "rejected", "bad_protocol", "bad_body", "too_large", "internal_error",
};
enum { REASON_COUNT = sizeof REASONS / sizeof *REASONS };

static FILE *ledger;

static inline void open_ledger(const char *path)
{
    ledger = fopen(path, "wb");
    if (!ledger)
        fail(path);
    setvbuf(ledger, NULL, _IOFBF, 1 << 20);
}

static inline void enter(enum what what, uint32_t client, uint32_t number, uint32_t id)
{
    struct entry entry = {now_ns(), client, number, id, what};
    if (fwrite(&entry, sizeof entry, 1, ledger) != 1)
        fail("ledger");
}

/* The first reason that a last message or close frame names. */
static inline uint32_t reason_in(const void *bytes, size_t length)
{
    for (uint32_t i = 1; i < REASON_COUNT; i++)
        if (memmem(bytes, length, REASONS[i], strlen(REASONS[i])))
            return i;
    return 0;
}

/* FNV-1a; never 0. */
static inline uint32_t hash_of(const unsigned char *bytes, size_t length)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ bytes[i]) * 16777619u;
    return hash ? hash : 1;
}

#endif
