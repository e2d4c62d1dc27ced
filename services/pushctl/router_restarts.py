"""One router is restarted: it must know again whom it knew."""

from services.fleet.supervisors import Program
from services.pushctl.programs import restart_program
from services.pushctl.rings import Rings
from services.pushctl.workers import Host, number_of
from services.sender import CurveKeys
from services.status.addresses import reachable_endpoint
from services.status.readiness import live_workers

#: The group of the routers in supervisord.conf.
GROUP = "router"


def restart_router(host: Host, program: Program, curve: CurveKeys | None, seconds: float) -> tuple[float, float]:
    """Seconds until it had ended, and from then on until it had its ring. Raises Fault that has its log's last line."""
    with Rings([reachable_endpoint(host.settings, number_of(program))], curve) as rings:
        known = _live(rings)
        return restart_program(
            host, program, "--routers", lambda: bool(rings.figures()) and _live(rings) >= known, "has no ring", seconds
        )


def _live(rings: Rings) -> set[str]:
    return {name for figures in rings.figures() for name in live_workers(figures)}
