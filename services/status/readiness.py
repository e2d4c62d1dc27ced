"""Whether a fleet is ready: each of its processes is asked something that only a working one answers."""

import http.client
from collections import Counter
from typing import Any

from services.catalogue import chosen
from services.sender import CurveKeys, Sender
from services.status.addresses import reachable, reachable_endpoints
from services.status.keys import status_keys
from shared import places
from shared.errors import SenderError
from shared.settings import Settings

#: How long (seconds) one process may take to answer.
ANSWER_S = 1.0


def not_ready(settings: Settings, *, status: bool = True) -> list[str]:
    """What does not answer yet, one line each; empty when the fleet is ready. `status`: ask the status service too.

    Raises SettingsError for key files that do not work.
    """
    lines = [*_routers_and_rings(settings), *_client_port(settings)]
    if status and not answers_ok(reachable(settings.api_listens_on), settings.api_port, "/health/live"):
        lines.append(f"status service: no answer on port {settings.api_port}")
    return lines


def _routers_and_rings(settings: Settings) -> list[str]:
    """Every router of this host is asked; on a host without, the client port alone tells of the ring."""
    curve = status_keys(settings)
    lines = []
    for number, endpoint in enumerate(reachable_endpoints(settings)):
        name = f"router-{number}"
        try:
            figures = figures_of(endpoint, curve)
            live = live_workers(figures, settings.host_name)
        except SenderError as error:
            lines.append(f"{name}: {error.message}")
            continue
        if len(live) < settings.workers:
            lines.append(f"workers: {len(live)} of {settings.workers} are in the ring of {name}")
        lines += [f"{service} service: not known to {name}" for service in missing_services(settings, figures)]
    return lines


def figures_of(endpoint: str, curve: CurveKeys | None) -> dict[str, Any]:
    """STAT1 of one router. Raises SenderError after ANSWER_S."""
    sender = Sender(endpoint, curve=curve, give_up_s=ANSWER_S, hello_timeout_s=ANSWER_S)
    try:
        return sender.stat()
    finally:
        sender.close(0)


def live_workers(figures: dict[str, Any], host: str | None = None) -> list[str]:
    """Names of the workers (of one host) that STAT1 says own slots now; none before the first ring."""
    if not figures["router"]["settled"]:
        return []
    live = [name for name, worker in figures["workers"].items() if worker["state"] == "live"]
    return sorted([name for name in live if host in (None, places.host_of(name))])


def missing_services(settings: Settings, figures: dict[str, Any]) -> list[str]:
    """Services that the settings name, and of which STAT1 has too few instances. Raises SettingsError (`services`)."""
    serving = Counter([name.rpartition("/")[0] for name in figures.get("services", ())])
    return [name for name, count in chosen(settings).items() if serving[name] < count]


def _client_port(settings: Settings) -> list[str]:
    if answers_ok(reachable(settings.host), settings.client_port, "/health"):
        return []
    return [f"gateway: no answer on port {settings.client_port}"]


def answers_ok(host: str, port: int, path: str) -> bool:
    """Whether a GET is answered with 200 in time."""
    connection = http.client.HTTPConnection(host, port, timeout=ANSWER_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
