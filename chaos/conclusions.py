"""How a proof that is one run ends: what it found is shown, saved if told to, and its promises make the exit status."""

import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import NoReturn

import click

from benchmarks.machines import describe
from chaos.results import Result, lay_out, save

_RESULTS = Path(__file__).parent / "results"


def conclude(
    result: Result, module: str, name: str, began: datetime, saves: bool, examples: Sequence[str] = ()
) -> NoReturn:
    """Exits with 1 if a promise was broken. `name`: of the files, before the date; `examples`: what is broken."""
    click.echo(lay_out(result))
    for example in examples:
        click.echo(f"* {example}")
    if saves:
        run = {"date": f"{began:%Y-%m-%d %H:%M} UTC", "command": " ".join([f"python -m {module}", *sys.argv[1:]])}
        paths = save(_RESULTS, f"{name}-{began:%Y-%m-%d}", run | describe(), [result])
        click.echo(f"saved: {', '.join(map(str, paths))}", err=True)
    sys.exit(1 if result.broken() else 0)
