"""services/pushctl/summaries.py: rates out of STAT1, and how they look."""

from typing import Any

import pytest

from services.pushctl.summaries import Samples, as_lines, percentile

BOUNDS = [1, 2]


def stat(uptime: float, sent: int, *, position: int = 0, offline: int = 0, kicked: int = 0, slow: int = 0) -> Any:
    counters = {"outcome_sent": sent, "outcome_offline": offline, "requests": sent}
    router = {"position": position, "uptime_s": uptime, "counters": counters, "epoch": [7, 1], "unanswered_requests": 2}
    states = {"live": 2, "leaving": 0, "restarting": 1, "lost": 0}
    worker = {"state": "live", "slots": 1024, "pushes_waiting": 3, "heartbeat_age_s": 0.5}
    counted = {"pushes_sent": sent, "pushes_held": 99 * sent, "close_kicked": kicked}
    workers = {name: {**worker, "counters": counted, "connections": {"v2": 4}} for name in ("h/10", "h/2")}
    return {
        "router": {**router, **states, "durations": {"outcome": {"counts": [sent - slow, slow, 0]}}},
        "workers": workers,
        "services": {},
        "totals": {
            "connections": {"all": 8},
            "counters": {"close_kicked": kicked, "close_replaced": 0},
            "duration_bounds_s": BOUNDS,
            "slots": 4096,
        },
    }


def test_rates_are_by_the_routers_clock() -> None:
    samples = Samples()
    first = samples.add([stat(10, 100)])
    assert (first["pushes_per_s"], first["workers"][0]["pushes_per_s"]) == (None, None)
    said = samples.add([stat(12, 300, offline=4, kicked=6)])
    assert said["pushes_per_s"] == 102
    assert said["outcomes_per_s"] == {"sent": 100, "offline": 2}
    assert said["closes"] == [{"reason": "kicked", "lately": 6, "total": 6}]
    assert [(row["worker"], row["pushes_per_s"], row["share"]) for row in said["workers"]] == [
        ("h/2", 100, 0.25),
        ("h/10", 100, 0.25),
    ]


def test_routers_are_added_up_and_workers_are_not() -> None:
    samples = Samples()
    samples.add([stat(10, 0), stat(50, 0, position=1)])
    said = samples.add([stat(11, 30), stat(51, 70, position=1, slow=70)])
    assert (said["routers"], said["pushes_per_s"], said["connections"]) == (2, 100, 8)
    assert said["unanswered_requests"] == 4
    assert said["workers"][0]["waiting"] == 6
    assert said["latency_s"]["p99"] == pytest.approx(1 + 69 / 70)


def test_one_that_has_begun_anew_counts_with_its_next_sample() -> None:
    samples = Samples()
    samples.add([stat(10, 500)])
    assert samples.add([stat(1, 5)])["pushes_per_s"] is None
    assert samples.add([stat(2, 15)])["pushes_per_s"] == 10


def test_rates_are_of_the_last_seconds() -> None:
    samples = Samples()
    for second in range(30):
        said = samples.add([stat(second, min(second, 15) * 100)])
    assert said["pushes_per_s"] == 0


@pytest.mark.parametrize(
    ("counts", "part", "seconds"),
    [
        ([0, 0, 0], 0.5, None),
        ([4, 0, 0], 0.5, 0.5),
        ([0, 4, 0], 0.5, 1.5),
        ([1, 1, 98], 0.99, 2),
        ([99, 1, 0], 0.99, 1),
    ],
)
def test_percentiles_are_those_of_the_dashboard(counts: list[int], part: float, seconds: float | None) -> None:
    assert percentile(BOUNDS, counts, part) == seconds


def test_as_text() -> None:
    samples = Samples()
    samples.add([stat(10, 100)])
    said = samples.add([stat(12, 300, kicked=6)])
    lines = as_lines(said)
    assert lines[0] == "2 workers live, 0 leaving, 1 away; 1 routers; ring 7.1"
    assert lines[1].startswith("8 connections   100 pushes/s   half within 500.0 ms")
    assert lines[2] == "outcomes/s: sent 100"
    assert lines[5].split() == ["h/2", "live", "25.0%", "4", "100", "3", "0.5", "s"]
    assert lines[-1].split() == ["kicked", "6", "6"]
    assert len(lines) == 10


@pytest.mark.parametrize("height", [1, 3, 8, 9, 24])
def test_it_fits(height: int) -> None:
    said = Samples().add([stat(10, 100)])
    said["workers"] = [{**said["workers"][0], "worker": f"h/{index}"} for index in range(40)]
    lines = as_lines(said, height)
    assert len(lines) <= height
    if height == 24:
        assert any("more" in line for line in lines)
