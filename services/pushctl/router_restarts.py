"""One router is restarted: it ends, supervisord starts it anew, and it must know again whom it knew."""

import time
from collections.abc import Callable

from services.fleet.supervision import last_line
from services.fleet.supervisors import Program
from services.pushctl.drains import POLL_S
from services.pushctl.faults import FAILED, Fault
from services.pushctl.rings import Rings
from services.pushctl.workers import Host, number_of
from services.sender import CurveKeys
from services.status.addresses import reachable_endpoint
from services.status.readiness import live_workers

#: The group of the routers in supervisord.conf.
GROUP = "router"
#: Seconds that a router may take to end; supervisord kills it then.
_END_S = 15.0


def restart_router(host: Host, program: Program, curve: CurveKeys | None, seconds: float) -> tuple[float, float]:
    """Seconds until it had ended, and from then on until it had its ring. Raises Fault that has its log's last line."""
    supervisor = host.need_supervisor("restart --routers")
    with Rings([reachable_endpoint(host.settings, number_of(program))], curve) as rings:
        known = _live(rings)
        began = time.monotonic()
        supervisor.stop(program)
        _wait(lambda: _state(host, program).is_down, _END_S, f"{program.name} has not ended", program)
        ended = time.monotonic()
        supervisor.start(program)
        _wait(lambda: _is_back(host, program, rings, known), seconds, f"{program.name} has no ring", program)
    return ended - began, time.monotonic() - ended


def _is_back(host: Host, program: Program, rings: Rings, known: set[str]) -> bool:
    state = _state(host, program)
    if state.is_down:
        raise Fault(f"{program.name} does not start ({state.state_name}){_last_words(program)}", FAILED)
    return state.is_up and bool(rings.figures()) and _live(rings) >= known


def _live(rings: Rings) -> set[str]:
    return {name for figures in rings.figures() for name in live_workers(figures)}


def _state(host: Host, program: Program) -> Program:
    return next(found for found in host.programs(GROUP) if found.name == program.name)


def _wait(condition: Callable[[], bool], seconds: float, otherwise: str, program: Program) -> None:
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise Fault(f"{otherwise} after {seconds:g} s{_last_words(program)}", FAILED)
        time.sleep(POLL_S)


def _last_words(program: Program) -> str:
    words = last_line(program.log)
    return f"; its log ends: {words}" if words else ""
