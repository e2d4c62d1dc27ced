"""`make bench`: every budget of the design beside the figure measured."""

import argparse
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import connects, fan_outs, idle_memory, latencies, pushes, worker_counts
from benchmarks.faults import BenchmarkFault
from benchmarks.figures import QUICK, Figure, Measurement, Plan
from benchmarks.machines import LOADING_CORE, describe, on_core
from benchmarks.tables import lay_out, lay_out_run, save

MEASUREMENTS: dict[str, Measurement] = {
    "memory": idle_memory.measure,
    "connects": connects.measure,
    "pushes": pushes.measure,
    "workers": worker_counts.measure,
    "all": fan_outs.measure,
    "latency": latencies.measure,
}
_RESULTS = Path(__file__).parent / "results"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints, saves. Exit status 1: a budget was missed; 2: a figure could not be measured."""
    options = _parser().parse_args(arguments)
    plan = QUICK if options.quick else Plan()
    if options.repeats:
        plan = replace(plan, repeats=options.repeats)
    run = {"date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", "command": _command(arguments)} | describe()
    run |= {"repeats": f"{plan.repeats}, medians; spread: least - most"}
    print(lay_out_run(run), end="\n\n", flush=True)
    figures, faults = _measure(options.only or list(MEASUREMENTS), plan)
    print(lay_out(figures))
    if options.save:
        print("saved:", *save(_RESULTS, options.name or f"{datetime.now(UTC):%Y-%m-%d}", run, figures))
    return 2 if faults else int(any(figure.met is False for figure in figures))


def _measure(names: list[str], plan: Plan) -> tuple[list[Figure], int]:
    """The figures that could be had, and how many measurements failed."""
    figures: list[Figure] = []
    faults = 0
    with on_core(LOADING_CORE):  # the senders run in this process
        for name in names:
            try:
                figures += MEASUREMENTS[name](plan, lambda text: print(f"... {text}", file=sys.stderr, flush=True))
            except (BenchmarkFault, AssertionError, OSError, RuntimeError) as fault:  # the others can still be had
                faults += 1
                print(f"{name}: {fault}", file=sys.stderr)
    return figures, faults


def _command(arguments: Sequence[str] | None) -> str:
    return " ".join(["python -m benchmarks", *(sys.argv[1:] if arguments is None else arguments)])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", action="append", choices=list(MEASUREMENTS), help="only this one (may be repeated)")
    parser.add_argument("--repeats", type=int, help="how often each is measured; the median is shown")
    parser.add_argument("--quick", action="store_true", help="fewer clients and pushes, once: shows that it works")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/NAME.json and NAME.md")
    parser.add_argument("--name", help="NAME; the date if not given")
    return parser


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that every `with` ends its processes
    sys.exit(main())
