// From one answer of STAT1 to the next: rates, percentiles and what the page shows of them. Touches no page.

export const OUTCOMES = {
  delivered: ["sent", "acked", "buffered"],
  stored: ["stored"],
  offline: ["offline", "expired"],
  failed: ["overloaded", "too_large", "unavailable", "refused", "unknown"],
};
const MINUTE = 60;
// Seconds over which workers' rates are taken: they tell once a second, and one beat more or less must not matter.
const BEATS = 10;

// What happened to a counter; null when whoever counts has begun anew.
export const growth = (before, now) => (before === undefined || now < before ? null : now - before);

// Seconds within which so much (0.99) of what `counts` holds was done; null of nothing.
// Linear between a bucket's bounds; of the last bucket, its lower bound.
export function percentile(bounds, counts, part) {
  const wanted = counts.reduce((sum, count) => sum + count, 0) * part;
  if (!wanted) return null;
  let seen = 0;
  for (const [index, count] of counts.entries()) {
    if (seen + count >= wanted) {
      const from = index ? bounds[index - 1] : 0;
      const to = bounds[index] ?? from;
      return from + ((to - from) * (wanted - seen)) / count;
    }
    seen += count;
  }
  return bounds.at(-1);
}

const closesOf = (counters) =>
  Object.entries(counters).flatMap(([name, count]) => (name.startsWith("close_") ? [[name.slice(6), count]] : []));

const pushesOf = (counters) =>
  Object.entries(counters).reduce((sum, [name, count]) => (name.startsWith("pushes_") && isOutcome(name) ? sum + count : sum), 0);

const isOutcome = (name) => Object.values(OUTCOMES).flat().includes(name.slice(7));

export class History {
  constructor() {
    this.last = null;
    this.past = []; // [router's uptime, workers], of the last BEATS
    this.closes = []; // [time, Map of reason to count], of the last minute
  }

  // `stat`: STAT1; `time`: seconds. What is shown of this second; null with the first.
  take(stat, time) {
    const before = this.last;
    this.last = { stat, time };
    if (!before) return null;
    // The router's clock tells when it counted; one that has begun anew starts at zero.
    const { uptime_s: now } = stat.router;
    const { uptime_s: then } = before.stat.router;
    const seconds = now < then ? time - before.time : now - then;
    if (seconds <= 0) return null; // told before
    if (now < then) this.past = [];
    this.past = this.past.concat([[then, before.stat.workers]]).filter(([at]) => at < now && at >= now - BEATS - 1);
    return {
      time,
      connections: stat.totals.connections.all,
      rates: this.#rates(before.stat, stat, seconds),
      workers: this.#workers(stat),
      latency: this.#latency(before.stat, stat),
      closes: this.#closed(before.stat, stat, time),
    };
  }

  #rates(before, now, seconds) {
    const rates = {};
    for (const [name, outcomes] of Object.entries(OUTCOMES)) {
      const grown = outcomes.map((one) => growth(before.router.counters[`outcome_${one}`], now.router.counters[`outcome_${one}`] ?? 0));
      rates[name] = grown.includes(null) ? null : grown.reduce((sum, one) => sum + one, 0) / seconds;
    }
    return rates;
  }

  #workers(stat) {
    const rates = {};
    const [since, before] = this.past[0] ?? [0, {}];
    for (const [name, worker] of Object.entries(stat.workers)) {
      const old = before[name];
      const grown = old ? growth(pushesOf(old.counters), pushesOf(worker.counters)) : null;
      rates[name] = grown === null ? null : grown / (stat.router.uptime_s - since);
    }
    return rates;
  }

  #latency(before, now) {
    const old = before.router.durations.outcome.counts;
    const grown = now.router.durations.outcome.counts.map((count, index) => growth(old[index], count));
    if (grown.includes(null)) return { p50: null, p99: null };
    const bounds = now.totals.duration_bounds_s;
    return { p50: percentile(bounds, grown, 0.5), p99: percentile(bounds, grown, 0.99) };
  }

  #closed(before, now, time) {
    const grown = new Map();
    for (const [name, worker] of Object.entries(now.workers)) {
      const old = before.workers[name]?.counters ?? {};
      for (const [reason, count] of closesOf(worker.counters)) {
        const more = growth(old[`close_${reason}`], count);
        if (more) grown.set(reason, (grown.get(reason) ?? 0) + more);
      }
    }
    this.closes = this.closes.filter(([at]) => at > time - MINUTE).concat([[time, grown]]);
    const rows = closesOf(now.totals.counters).map(([reason, total]) => ({
      reason, total, minute: this.closes.reduce((sum, [, each]) => sum + (each.get(reason) ?? 0), 0),
    }));
    return rows.filter((row) => row.total || row.minute).sort((a, b) => b.minute - a.minute || b.total - a.total);
  }
}
