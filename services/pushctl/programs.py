"""One process beside the workers is restarted: it ends, supervisord starts it anew, and it must be back."""

import time
from collections.abc import Callable

from services.fleet.supervision import last_line
from services.fleet.supervisors import Program
from services.pushctl.drains import POLL_S
from services.pushctl.faults import FAILED, Fault
from services.pushctl.workers import Host

#: Seconds that it may take to end; supervisord kills it before that.
_END_S = 15.0


def restart_program(
    host: Host, program: Program, option: str, is_back: Callable[[], bool], otherwise: str, seconds: float
) -> tuple[float, float]:
    """Seconds until it had ended, and from then on until it was back, `otherwise` if it is not after `seconds`.

    Raises Fault that has its log's last line. `option`: of `pushctl restart`.
    """
    supervisor = host.need_supervisor(f"restart {option}")
    began = time.monotonic()
    supervisor.stop(program)
    _wait(lambda: _state(host, program).is_down, _END_S, "has not ended", program)
    ended = time.monotonic()
    supervisor.start(program)
    _wait(lambda: _runs(host, program) and is_back(), seconds, otherwise, program)
    return ended - began, time.monotonic() - ended


def _runs(host: Host, program: Program) -> bool:
    state = _state(host, program)
    if state.is_down:
        raise Fault(f"{program.name} does not start ({state.state_name}){_last_words(program)}", FAILED)
    return state.is_up


def _state(host: Host, program: Program) -> Program:
    return next(found for found in host.programs(program.group) if found.name == program.name)


def _wait(condition: Callable[[], bool], seconds: float, otherwise: str, program: Program) -> None:
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise Fault(f"{program.name} {otherwise} after {seconds:g} s{_last_words(program)}", FAILED)
        time.sleep(POLL_S)


def _last_words(program: Program) -> str:
    words = last_line(program.log)
    return f"; its log ends: {words}" if words else ""
