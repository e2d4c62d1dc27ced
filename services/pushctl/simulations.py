"""`pushctl simulate`."""

import importlib.util
import os
import sys
from pathlib import Path

import click

from services.pushctl.faults import FAILED, Fault

_MODULE = "simulator"
#: Where it lies in the source tree, also while it is not installed.
_ROOT = Path(__file__).resolve().parents[2]


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def simulate(arguments: tuple[str, ...]) -> None:
    """Run whole fleets on a virtual clock, with faults drawn from seeds: `python -m simulator` with these ARGUMENTS.

    \b
    pushctl simulate --seeds 1..1000 --json
    pushctl simulate -- --help
    """
    if importlib.util.find_spec(_MODULE) is None and not (_ROOT / _MODULE).is_dir():
        raise Fault(f"the simulator is neither installed nor in {_ROOT}", FAILED)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    os.execv(sys.executable, [sys.executable, "-m", _MODULE, *arguments])
