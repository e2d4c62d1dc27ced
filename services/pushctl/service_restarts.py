"""One service is restarted: every router must know the new instance."""

from typing import Any

from services.catalogue import MODULES, instance
from services.fleet.supervisors import Program
from services.pushctl.programs import restart_program
from services.pushctl.workers import Host, number_of

#: The group of the services in supervisord.conf.
GROUP = "services"


def restart_service(host: Host, program: Program, seconds: float) -> tuple[float, float]:
    """Seconds until it had ended, and from then on until it was back. Raises Fault that has its log's last line."""
    name = service_of(program)
    before = {known for figures in host.rings.figures() for known in instances_of(name, figures)}

    def is_known() -> bool:
        figures = host.rings.figures()
        return name is None or (bool(figures) and all(instances_of(name, each) - before for each in figures))

    return restart_program(host, program, "--services", is_known, "is not known to every router", seconds)


def service_of(program: Program) -> str | None:
    """`message-cache` of the program `message-cache-0`; None: clients' calls do not go to it."""
    return next((name for name in MODULES if program.name in (name, instance(name, number_of(program)))), None)


def instances_of(name: str | None, figures: dict[str, Any]) -> set[str]:
    """Those of a service in STAT1, as `name/instance`."""
    return {known for known in figures.get("services", ()) if known.rpartition("/")[0] == name}
