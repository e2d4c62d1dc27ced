"""`make chaos`: fleets broken under load, and what their clients and senders noticed."""

import argparse
import importlib
import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.faults import BenchmarkFault
from benchmarks.machines import describe
from chaos.results import Result, lay_out, save
from chaos.stages import QUICK, Plan, Scenario, progress

#: In the order of `make chaos`; the last is `make chaos-100k`.
SCENARIOS = ("rolling", "kills", "resize", "routers", "pause", "hosts", "hundred-thousand")
_RESULTS = Path(__file__).parent / "results"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs, prints, saves. Exit status 1: a promise was broken; 2: a scenario could not be run."""
    options = _parser().parse_args(arguments)
    plan = QUICK if options.quick else Plan()
    given = {
        name: getattr(options, name)
        for name in ("clients", "processes", "rate", "seed", "tree")
        if getattr(options, name)
    }
    plan = replace(plan, **given)
    run = {"date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", "command": _command(arguments)} | describe()
    results, faults = _run_all(options.scenarios or list(SCENARIOS[:-1]), plan, options.part)
    if options.json:
        print(json.dumps({"run": run, "results": [result.as_json() for result in results]}, indent=1))
    else:
        print("\n".join(f"{name}: {value}" for name, value in run.items()), end="\n\n")
        print("\n\n".join(lay_out(result) for result in results))
    if options.save:
        print("saved:", *save(_RESULTS, options.name or f"{datetime.now(UTC):%Y-%m-%d}", run, results), file=sys.stderr)
    broken = [f"{result.scenario}: {figure.name}" for result in results for figure in result.broken()]
    for line in broken:
        print(f"BROKEN: {line}", file=sys.stderr)
    return 2 if faults else int(bool(broken))


def _run_all(names: list[str], plan: Plan, parts: Sequence[str]) -> tuple[list[Result], int]:
    """What could be had, and how many scenarios could not be run."""
    results: list[Result] = []
    faults = 0
    for name in names:
        scenario: Scenario = importlib.import_module(f"chaos.scenarios.{name.replace('-', '_')}").run
        try:
            results.extend(scenario(plan, parts))
        except (BenchmarkFault, OSError, RuntimeError, ValueError) as fault:  # the others can still be run
            faults += 1
            print(f"{name}: {type(fault).__name__}: {fault}", file=sys.stderr)
        progress(f"{name}: done")
    return results, faults


def _command(arguments: Sequence[str] | None) -> str:
    return " ".join(["python -m chaos", *(sys.argv[1:] if arguments is None else arguments)])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m chaos", description=__doc__, epilog="chaos/README.md says what each scenario does."
    )
    parser.add_argument("scenarios", nargs="*", choices=[*SCENARIOS, []], metavar="SCENARIO", help=", ".join(SCENARIOS))
    parser.add_argument("--quick", action="store_true", help="few clients, a few seconds")
    parser.add_argument("--clients", type=int, help="how many")
    parser.add_argument("--processes", type=int, help="how many processes they are in")
    parser.add_argument("--rate", type=int, help="pushes a second")
    parser.add_argument("--seed", type=int, help="of what is drawn: targets, and what is broken")
    parser.add_argument("--part", action="append", default=[], help="of rolling only: plain, router, versions")
    parser.add_argument("--tree", type=Path, help="where the fleet's code is, if not here")
    parser.add_argument("--json", action="store_true", help="JSON instead of tables")
    parser.add_argument("--save", action="store_true", help="write chaos/results/NAME.json and NAME.md")
    parser.add_argument("--name", help="NAME; the date if not given")
    return parser


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that every `with` ends its processes
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(main())
