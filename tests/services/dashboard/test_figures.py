"""static/figures.js, in Node."""

import json
import os
import shutil
import subprocess
from typing import Any

import pytest

from tests.docs.documents import ROOT

_MODULE = (ROOT / "services/dashboard/static/figures.js").as_uri()


def run(script: str) -> Any:
    """What it prints as JSON."""
    if not (node := shutil.which("node")):
        if os.environ.get("CI"):
            pytest.fail("node is not installed")
        pytest.skip("node is not installed")
    source = f"import {{ growth, percentile, History }} from {json.dumps(_MODULE)};\n{script}"
    command = [node, "--input-type=module", "-"]
    return json.loads(
        subprocess.run(command, input=source, check=True, capture_output=True, text=True, timeout=60).stdout
    )


def stat(uptime: float, sent: int, *, closed: int = 0, slow: int = 0) -> str:
    """STAT1 as JSON: pushes sent, connections closed, and pushes that took from 1 to 2 s."""
    outcomes = ("acked", "buffered", "stored", "offline", "expired", "overloaded", "too_large", "unavailable")
    counters = {f"outcome_{name}": 0 for name in (*outcomes, "refused", "unknown")} | {"outcome_sent": sent}
    worker = {"counters": {"pushes_sent": sent, "pushes_held": 99 * sent, "close_kicked": closed}}
    durations = {"outcome": {"counts": [sent - slow, slow, 0]}}
    return json.dumps(
        {
            "router": {"uptime_s": uptime, "counters": counters, "durations": durations},
            "workers": {"h/0": worker},
            "totals": {
                "connections": {"all": 3},
                "counters": {"close_kicked": closed},
                "duration_bounds_s": [1, 2],
            },
        }
    )


def take(*seconds: tuple[str, float]) -> list[Any]:
    calls = ", ".join(f"history.take({said}, {at})" for said, at in seconds)
    return run(f"const history = new History(); console.log(JSON.stringify([{calls}]))")


def test_rates_are_by_the_routers_clock() -> None:
    first, second = take((stat(10, 100), 0), (stat(12, 300, closed=4), 1))
    assert first is None
    assert second["rates"] == {"delivered": 100, "stored": 0, "offline": 0, "failed": 0}
    assert second["workers"] == {"h/0": 100}
    assert second["closes"] == [{"reason": "kicked", "total": 4, "minute": 4}]


def test_rates_of_workers_are_those_of_ten_seconds() -> None:
    *_, last = take(*[(stat(10 + at, 50 * (at // 2)), at) for at in range(14)])
    assert last["workers"]["h/0"] == pytest.approx(25, rel=0.12)
    assert last["rates"]["delivered"] == 0


def test_figures_told_twice_are_passed_over() -> None:
    assert take((stat(10, 100), 0), (stat(10, 100), 1))[1] is None


def test_a_router_that_begins_anew_makes_a_gap_and_no_negative_rate() -> None:
    _, gap, after = take((stat(10, 100), 0), (stat(1, 5), 2), (stat(2, 15), 3))
    assert gap["rates"]["delivered"] is None
    assert gap["latency"] == {"p50": None, "p99": None}
    assert after["rates"]["delivered"] == 10


def test_closes_are_of_the_last_minute() -> None:
    *_, last = take((stat(1, 0), 0), (stat(2, 0, closed=3), 1), (stat(90, 0, closed=5), 89))
    assert last["closes"] == [{"reason": "kicked", "total": 5, "minute": 2}]


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
def test_percentiles(counts: list[int], part: float, seconds: float | None) -> None:
    assert run(f"console.log(JSON.stringify(percentile([1, 2], {counts}, {part})))") == seconds
