"""Whether a fleet is ready: each of its processes is asked something that only a working one answers."""

import http.client
from typing import Any

from services.sender import Sender
from services.status.addresses import reachable, reachable_endpoint
from services.status.keys import status_keys
from shared.errors import SenderError
from shared.settings import Settings

#: How long (seconds) one process may take to answer.
ANSWER_S = 1.0


def not_ready(settings: Settings, *, status: bool = True) -> list[str]:
    """What does not answer yet, one line each; empty when the fleet is ready. `status`: ask the status service too.

    Raises SettingsError for key files that do not work.
    """
    lines = [*_router_and_ring(settings), *_client_port(settings)]
    if status and not answers_ok(reachable(settings.host), settings.api_port, "/health/live"):
        lines.append(f"status service: no answer on port {settings.api_port}")
    return lines


def _router_and_ring(settings: Settings) -> list[str]:
    curve = status_keys(settings)
    sender = Sender(reachable_endpoint(settings), curve=curve, give_up_s=ANSWER_S, hello_timeout_s=ANSWER_S)
    try:
        figures = sender.stat()
    except SenderError as error:
        return [f"router: {error.message}"]
    finally:
        sender.close(0)
    live = len(live_workers(figures))
    return [f"workers: {live} of {settings.workers} are in the ring"] if live < settings.workers else []


def live_workers(figures: dict[str, Any]) -> list[str]:
    """Names of the workers that STAT1 says own slots now; none before the first ring."""
    if not figures["router"]["settled"]:
        return []
    return sorted(name for name, worker in figures["workers"].items() if worker["state"] == "live")


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
