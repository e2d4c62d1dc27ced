"""From one answer of STAT1 to the next: what `pushctl top` shows. Pure; the dashboard's `figures.js` does the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from shared.outcomes import Outcome

#: Seconds over which rates are taken: workers tell once a second, and one beat more or less must not matter.
SPAN_S = 10.0
_STATES = ("live", "leaving", "restarting", "lost")
_OUTCOMES = [outcome.name.lower() for outcome in Outcome]


class Samples:
    """STAT1 of all routers that answer, of the last SPAN_S, by each router's own clock."""

    def __init__(self) -> None:
        self._samples: list[list[dict[str, Any]]] = []

    def add(self, figures: list[dict[str, Any]]) -> dict[str, Any]:
        """What is known now; rates are None with the first sample, and of what has begun anew."""
        self._samples.append(figures)
        newest = _uptimes(figures)
        self._samples = [
            sample
            for sample in self._samples
            if all(0 <= newest.get(place, at) - at <= SPAN_S for place, at in _uptimes(sample).items())
        ]
        return summary(self._samples[0] if len(self._samples) > 1 else [], figures)


def summary(before: Sequence[dict[str, Any]], now: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The fleet between two samples. `now` has a router at least."""
    pairs = list(_pairs(before, now))
    first = now[0]
    grown: Counter[str] = Counter()
    for old, new, seconds in pairs:
        grown.update({key: count / seconds for key, count in _growth(old, new, "router").items()})
    rates = {name: grown[f"outcome_{name}"] for name in _OUTCOMES} if pairs else {}
    return {
        "routers": len(now),
        **{state: first["router"][state] for state in _STATES},
        "epoch": first["router"]["epoch"],
        "connections": first["totals"]["connections"]["all"],
        "pushes_per_s": sum(rates.values()) if pairs else None,
        "outcomes_per_s": {name: rate for name, rate in rates.items() if rate},
        "unanswered_requests": sum(each["router"]["unanswered_requests"] for each in now),
        "latency_s": _latency(pairs, first["totals"]["duration_bounds_s"]),
        "closes": _closes(pairs[0][0] if pairs else None, first),
        "workers": _workers(pairs[0] if pairs else None, now),
        "services": first["services"],
    }


def _uptimes(figures: Iterable[dict[str, Any]]) -> dict[int, float]:
    return {each["router"]["position"]: each["router"]["uptime_s"] for each in figures}


def _pairs(
    before: Sequence[dict[str, Any]], now: Sequence[dict[str, Any]]
) -> Iterable[tuple[dict[str, Any], dict[str, Any], float]]:
    """(earlier, later, seconds between) of the routers that have gone on."""
    earlier = {each["router"]["position"]: each for each in before}
    for each in now:
        old = earlier.get(each["router"]["position"])
        seconds = each["router"]["uptime_s"] - old["router"]["uptime_s"] if old else 0
        if old and seconds > 0:
            yield old, each, seconds


def _growth(old: dict[str, Any], new: dict[str, Any], part: str) -> dict[str, int]:
    return _grown(old[part]["counters"], new[part]["counters"])


def _grown(old: Mapping[str, int], new: Mapping[str, int]) -> dict[str, int]:
    """How much each counter has grown; one that has begun anew, not at all."""
    return {key: max(0, count - old.get(key, 0)) for key, count in new.items()}


def _latency(pairs: Iterable[tuple[dict[str, Any], dict[str, Any], float]], bounds: Sequence[float]) -> dict[str, Any]:
    counts = [0] * (len(bounds) + 1)
    for old, new, _ in pairs:
        histograms = old["router"]["durations"]["outcome"]["counts"], new["router"]["durations"]["outcome"]["counts"]
        counts = [count + max(0, later - earlier) for count, earlier, later in zip(counts, *histograms, strict=True)]
    return {f"p{part:g}": percentile(bounds, counts, part / 100) for part in (50, 99)}


def percentile(bounds: Sequence[float], counts: Sequence[int], part: float) -> float | None:
    """Seconds within which so much of what `counts` holds was done; None of nothing.

    Linear between a bucket's bounds; of the last bucket, its lower bound.
    """
    wanted = sum(counts) * part
    if not wanted:
        return None
    seen = 0
    for index, count in enumerate(counts):
        if seen + count >= wanted:
            start = bounds[index - 1] if index else 0.0
            end = bounds[index] if index < len(bounds) else start
            return float(start + (end - start) * (wanted - seen) / count)
        seen += count
    return float(bounds[-1])


def _closes(old: dict[str, Any] | None, new: dict[str, Any]) -> list[dict[str, Any]]:
    """Reasons for which connections have ended, those of late first."""
    grown = _growth(old, new, "totals") if old else {}
    rows = [
        {"reason": name.removeprefix("close_"), "lately": grown.get(name, 0), "total": total}
        for name, total in new["totals"]["counters"].items()
        if name.startswith("close_") and total
    ]
    return sorted(rows, key=lambda row: (-row["lately"], -row["total"]))


def _workers(
    pair: tuple[dict[str, Any], dict[str, Any], float] | None, now: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    old, seconds = (pair[0]["workers"], pair[2]) if pair else ({}, 0.0)
    return [
        {
            "worker": name,
            "state": worker["state"],
            "share": worker["slots"] / now[0]["totals"]["slots"],
            "connections": sum(worker["connections"].values()),
            "pushes_per_s": _pushes(old[name]["counters"], worker["counters"]) / seconds if name in old else None,
            "waiting": sum(each["workers"].get(name, {}).get("pushes_waiting", 0) for each in now),
            "heartbeat_age_s": worker["heartbeat_age_s"],
        }
        for name, worker in sorted(now[0]["workers"].items(), key=lambda item: _natural(item[0]))
    ]


def _pushes(old: Mapping[str, int], new: Mapping[str, int]) -> int:
    grown = _grown(old, new)
    return sum(grown.get(f"pushes_{name}", 0) for name in _OUTCOMES)


def _natural(name: str) -> tuple[str, int]:
    """here/2 before here/10."""
    host, _, number = name.rpartition("/")
    return host, int(number) if number.isdecimal() else 0


# --- as text


def as_lines(said: dict[str, Any], height: int = 1000) -> list[str]:
    """What is shown, at most `height` lines: workers and closes share what is left."""
    latency = said["latency_s"]
    away = said["restarting"] + said["lost"]
    lines = [
        f"{said['live']} workers live, {said['leaving']} leaving, {away} away; {said['routers']} routers;"
        f" ring {said['epoch'][0]}.{said['epoch'][1]}",
        f"{said['connections']:,} connections   {_rate(said['pushes_per_s'])} pushes/s"
        f"   half within {_duration(latency['p50'])}, 99 % within {_duration(latency['p99'])}"
        f"   {said['unanswered_requests']} requests unanswered",
        "outcomes/s: "
        + (", ".join(f"{name} {_rate(rate)}" for name, rate in said["outcomes_per_s"].items()) or "none"),
        "",
    ]
    closes = said["closes"][: max(1, min(5, height - len(lines) - 4))]
    rows = said["workers"][: max(1, height - len(lines) - len(closes) - 3)]
    lines.append(
        f"{'worker':<20}{'state':<11}{'share':>8}{'connections':>13}{'pushes/s':>10}{'waiting':>9}{'heard':>8}"
    )
    lines += [
        f"{row['worker']:<20}{row['state']:<11}{row['share']:>8.1%}{row['connections']:>13,}"
        f"{_rate(row['pushes_per_s']):>10}{row['waiting']:>9,}{row['heartbeat_age_s']:>6.1f} s"
        for row in rows
    ]
    if len(rows) < len(said["workers"]):
        lines[-1] = f"... and {len(said['workers']) - len(rows) + 1} more"
    lines += ["", f"{'closed':<31}{f'in {SPAN_S:g} s':>8}{'in all':>13}"]
    lines += [f"{row['reason']:<31}{row['lately']:>8,}{row['total']:>13,}" for row in closes]
    return lines[:height]


def _rate(rate: float | None) -> str:
    if rate is None:
        return "-"
    return f"{rate:,.0f}" if rate >= 10 or rate == int(rate) else f"{rate:.1f}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"
