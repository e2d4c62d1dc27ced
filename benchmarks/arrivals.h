/* What arrived: counts, latencies, sequence numbers. */
#ifndef ARRIVALS_H
#define ARRIVALS_H

#include "lines.h"

#define LATENCY_STEPS 500000  /* of 1 us */

static struct {
    uint64_t frames, bytes, sequenced, gaps, others;
} counts;
static struct {
    uint64_t total, most_us, over, steps[LATENCY_STEPS];
} latency;

static inline uint64_t hex_number(const unsigned char *digits, int count)
{
    uint64_t number = 0;
    for (int i = 0; i < count; i++)
        number = number << 4 | (uint64_t)((digits[i] & 15) + (digits[i] > '9' ? 9 : 0));
    return number;
}

/* Counts one push. `last` is the last one that this client saw. */
static inline void take_payload(uint32_t *last, const unsigned char *payload, size_t length)
{
    counts.frames++;
    if (length < 17 || payload[0] != 't')
        return;
    uint64_t took_us = (now_ns() - hex_number(payload + 1, 16)) / 1000;
    latency.total++;
    if (took_us > latency.most_us)
        latency.most_us = took_us;
    if (took_us < LATENCY_STEPS)
        latency.steps[took_us]++;
    else
        latency.over++;
    if (length < 26 || payload[17] != 's')
        return;
    uint32_t sequence = (uint32_t)hex_number(payload + 18, 8);
    counts.sequenced++;
    if (sequence != *last + 1)
        counts.gaps++;
    *last = sequence;
}

/* The latency that `part` of the pushes did not exceed, in microseconds. */
static inline double percentile(double part)
{
    uint64_t seen = 0, rank = (uint64_t)(part * (double)latency.total);
    for (long i = 0; i < LATENCY_STEPS; i++)
        if ((seen += latency.steps[i]) > rank)
            return (double)i + 0.5;
    return (double)latency.most_us;
}

#endif
