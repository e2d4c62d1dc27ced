"""What the two Python programs share: settings from the command line, lines of JSON out."""

import json
import sys
import threading
from collections.abc import Callable
from typing import Any

_lock = threading.Lock()


def tell(**said: Any) -> None:
    """One line."""
    with _lock:
        print(json.dumps(said), flush=True)


def tell_state(status: Any) -> None:
    tell(state=status.state.value, reason=status.reason, pause_s=status.retry_in_s)


def tell_error(error: Exception) -> None:
    tell(error=type(error).__name__)


def options(settings: dict[str, Any]) -> dict[str, Any]:
    """`credentials`: given one after the other, the last one again and again; null: the function fails."""
    if (credentials := settings.pop("credentials", None)) is not None:
        settings["credential"] = one_after_the_other(credentials)
    return settings | {"on_state": tell_state, "on_error": tell_error}


def one_after_the_other(credentials: list[str | None]) -> Callable[[], str]:
    def fetch() -> str:
        given = credentials.pop(0) if len(credentials) > 1 else credentials[0]
        tell(fetched=given is not None)
        if given is None:
            raise RuntimeError("no credential today")
        return given

    return fetch


def arguments() -> tuple[str, int, dict[str, Any]]:
    """Host, port, settings."""
    _, host, port, settings = sys.argv
    return host, int(port), json.loads(settings)
