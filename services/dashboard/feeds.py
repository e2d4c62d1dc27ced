"""WebSockets /dashboard/live and /live: STAT1 once a second, for whoever may read.

Where there are API keys, a page shows one as a subprotocol (`key.pgk_...`): browsers let no page set header fields of
a WebSocket, and a URL would be in logs. Others may show it in Authorization.
"""

import contextlib
from collections.abc import Callable, Iterable
from typing import Any

import gevent
import ujson
from geventwebsocket.exceptions import WebSocketError

from services.api.application import failure
from services.api.gates import Environ, StartResponse
from services.api.keys import READ
from services.api.problems import Problem
from services.api.v1.access import Access, bearer
from services.status.figures import Figures
from shared.errors import SenderError

PATH = "/dashboard/live"
#: For programs.
PLAIN_PATH = "/live"
#: Period (seconds).
PERIOD_S = 1.0
#: What the server answers of the subprotocols that the page offers.
SUBPROTOCOL = "push-dashboard"
_KEY = "key."
_POLICY_VIOLATION = 1008


class Feed:
    """WSGI, for PATH and PLAIN_PATH; another request gets what `otherwise` says."""

    def __init__(self, figures: Figures, access: Access, otherwise: Callable[..., Iterable[bytes]]) -> None:
        self._figures, self._access, self._otherwise = figures, access, otherwise

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if "wsgi.websocket" not in environ:
            return self._otherwise(environ, start_response)
        if environ["PATH_INFO"] in (PATH, PLAIN_PATH):
            self._serve(environ, environ["wsgi.websocket"])
        return []

    def _serve(self, environ: Environ, websocket: Any) -> None:
        closed = gevent.spawn(read_until_closed, websocket)
        try:
            while not closed.ready():
                # Each time: a key may be revoked.
                self._access.admit(
                    _key(environ), READ, environ.get("HTTP_HOST", ""), environ.get("HTTP_ORIGIN"), of_page=True
                )
                websocket.send(ujson.dumps(self._figures_or_failure(), escape_forward_slashes=False))
                closed.join(PERIOD_S)
        except Problem as problem:
            with contextlib.suppress(WebSocketError, OSError):
                # `close()` of gevent-websocket leaves the code out.
                words = _POLICY_VIOLATION.to_bytes(2, "big") + problem.code.encode()
                websocket.send_frame(words, websocket.OPCODE_CLOSE)
                closed.join(PERIOD_S)
        except (WebSocketError, OSError):
            pass
        finally:
            closed.kill()

    def _figures_or_failure(self) -> dict[str, Any]:
        try:
            return self._figures.latest()
        except SenderError as error:
            return failure(error)


def read_until_closed(websocket: Any) -> None:
    """Watchers have nothing to say; reading answers pings and sees the end."""
    while True:
        try:
            if websocket.receive() is None:
                return
        except TimeoutError:
            continue
        except (WebSocketError, OSError):
            return


def _key(environ: Environ) -> str:
    offered = [one.strip() for one in environ.get("HTTP_SEC_WEBSOCKET_PROTOCOL", "").split(",")]
    keys = [one.removeprefix(_KEY) for one in offered if one.startswith(_KEY)]
    return keys[0] if keys else bearer(environ.get("HTTP_AUTHORIZATION", ""))
