"""Runs of a scenario in a network namespace: by this program, started again in there."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from chaos.networks import within
from chaos.results import Result
from chaos.stages import Plan

_DEADLINE_S = 900


def run_inside(namespace: str, module: str, plan: Plan, **about: Any) -> Result:
    """What `python -m MODULE` in the namespace answers, see `answer`. Raises RuntimeError if it fails."""
    said = json.dumps({"plan": asdict(plan), **about}, default=str)
    command = [*within(namespace), sys.executable, "-m", module, said]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            answered, _ = process.communicate(timeout=_DEADLINE_S)
        except BaseException:
            process.terminate()  # it ends its own processes
            raise
    if process.returncode:
        raise RuntimeError(f"the run in a network namespace ended with status {process.returncode}")
    return Result.from_json(json.loads(answered))


def answer(said: str, run: Callable[[Plan, dict[str, Any]], Result]) -> None:
    """Inside: runs it by the plan that was said, and prints the result for `run_inside`."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that every `with` ends its processes
    about = json.loads(said)
    print(json.dumps(run(Plan.from_json(about["plan"]), about).as_json()))
