"""What events cost in the presence service's SQLite file: `python -m benchmarks.events`.

Clients come and go, 100 in a report, where events are kept and where nobody wants any; then the events are read,
confirmed and taken out, 100 at a time, as a delivery does it. And what it costs to say that a client was given away.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure
from benchmarks.machines import MEASURED_CORE, describe, on_core
from benchmarks.tables import lay_out, lay_out_run, save
from services.storage.events import NOTHING, Keeping
from services.storage.presences import GIVEN, Ended, Presence
from services.storage.sqlite_storage import SqliteStorage

NOW_MS, BATCH = 1_795_000_000_000, 100
CLIENTS, REPEATS = 20_000, 5
QUICK_CLIENTS, QUICK_REPEATS = 1_000, 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints, and saves if told to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few of everything, to see whether it works")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/events-DATE")
    options = parser.parse_args(arguments)
    clients, repeats = (QUICK_CLIENTS, QUICK_REPEATS) if options.quick else (CLIENTS, REPEATS)
    run = {"date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", "command": "python -m benchmarks.events"}
    run |= describe() | {"repeats": f"{repeats}, medians; spread: least - most"}
    print(lay_out_run(run), end="\n\n", flush=True)
    with on_core(MEASURED_CORE):
        found = measure(clients, repeats)
    print(lay_out(found))
    if options.save:
        name = f"events-{datetime.now(UTC):%Y-%m-%d}"
        print("saved:", *save(Path(__file__).parent / "results", name, run, found))
    return 0


def measure(clients: int, repeats: int) -> list[Figure]:
    """CPU us for each client, or event."""
    found: dict[str, list[float]] = {}
    for _ in range(repeats):
        for name, keeping in (("without events", NOTHING), ("with events", Keeping(10 * clients))):
            for what, us in _once(clients, keeping).items():
                found.setdefault(f"{what}, {name}", []).append(us)
    return [Figure(name, "us", values) for name, values in found.items()]


def _once(clients: int, keeping: Keeping) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as directory, SqliteStorage(Path(directory) / "push.db", keeping=keeping) as it:
        store, outbox = it.presences, it.outbox
        store.report("here/0", "x.1", 1, 60_000, NOW_MS, begin=True)
        all_of_them = [
            Presence(f"t{n}", None, "here/0", "v2", "127.0.0.1:9", NOW_MS, "here/0", 1) for n in range(clients)
        ]
        parts = [all_of_them[start : start + BATCH] for start in range(0, clients, BATCH)]
        figures = {
            "a client comes": _us(parts, lambda part: store.come(part, "x.1", NOW_MS)),
            "it was given away, and told of since": _us(
                parts, lambda part: store.gone([Ended(one._replace(moves=0), GIVEN) for one in part], NOW_MS)
            ),
            "it goes": _us(parts, lambda part: store.gone([Ended(one, "peer_closed") for one in part], NOW_MS)),
        }
        if keeping.most:
            outbox.take("webhook", "here", 1 << 40, NOW_MS)
            numbers = [range(start, start + BATCH) for start in range(0, 2 * clients, BATCH)]

            def deliver(part: range) -> None:
                body = [event.json() for event in outbox.read(part.start, BATCH)]
                assert len(body) == BATCH
                outbox.confirm("webhook", "here", part.stop)
                outbox.prune(["webhook"])

            figures["an event is read, confirmed and taken out"] = _us(numbers, deliver)
        return figures


def _us(parts: Sequence[Any], do: Callable[[Any], object]) -> float:
    began = time.process_time()
    for part in parts:
        do(part)
    return (time.process_time() - began) / sum(map(len, parts)) * 1e6


if __name__ == "__main__":
    sys.exit(main())
