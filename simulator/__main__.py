"""The command line: run seeds, and say what broke.

python -m simulator --seeds 1..1000 --jobs 2
python -m simulator --seeds 17 --trace
python -m simulator --seeds 1..200 --bug late-holder-mark
"""

import json
import multiprocessing
import sys
from collections.abc import Iterable, Iterator
from functools import partial

import click
from tqdm import tqdm

from simulator.bugs import BUGS, put_in
from simulator.runs import Result, run
from simulator.summaries import Summary

#: Last events shown of a seed that fails.
_EVENTS = 60


def _seeds(context: click.Context, parameter: click.Parameter, text: str) -> range:
    first, _, last = text.partition("..")
    try:
        return range(int(first), int(last or first) + 1)
    except ValueError:
        raise click.BadParameter("is neither a number nor FIRST..LAST") from None


def _run(bug: str | None, trace: bool, seed: int) -> Result:
    with put_in(bug):
        result = run(seed, trace)
        return run(seed, True) if result.violations and not trace else result  # again, with all details


def _results(seeds: range, jobs: int, bug: str | None, trace: bool) -> Iterator[Result]:
    work = partial(_run, bug, trace)
    if jobs == 1 or len(seeds) == 1:
        yield from map(work, seeds)
        return
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        yield from pool.imap(work, seeds, chunksize=4)


def _shown(results: Iterable[Result], total: int, quiet: bool) -> Iterable[Result]:
    shown: Iterable[Result] = tqdm(results, total=total, unit="seed", disable=quiet or total == 1)
    return shown


@click.command(help="Run whole fleets on a virtual clock, with faults drawn from seeds, and check every promise.")
@click.option("--seeds", callback=_seeds, default="1..100", show_default=True, help="A seed, or FIRST..LAST.")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Processes.")
@click.option("--bug", type=click.Choice(sorted(BUGS)), help="Put this bug in, to see that it is caught.")
@click.option("--trace", is_flag=True, help="Show every event, not only the last ones of a seed that fails.")
@click.option("--all", "go_on", is_flag=True, help="Go on after a seed that fails.")
@click.option("--json", "as_json", is_flag=True, help="The summary as JSON, and nothing else.")
def main(seeds: range, jobs: int, bug: str | None, trace: bool, go_on: bool, as_json: bool) -> None:
    summary = Summary()
    for result in _shown(_results(seeds, jobs, bug, trace), len(seeds), as_json):
        summary.add(result)
        if trace and not as_json:
            click.echo("\n".join(result.events))
        if result.violations and not as_json:
            tqdm.write(summary.failure(result, bug, events=0 if trace else _EVENTS), file=sys.stdout)
        if result.violations and not go_on:
            break
    click.echo(json.dumps(summary.figures()) if as_json else summary.text())
    sys.exit(1 if summary.failed else 0)


if __name__ == "__main__":
    main(prog_name="python -m simulator")
