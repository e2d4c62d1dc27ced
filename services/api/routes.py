"""Which application answers which paths: one process, one port, several groups of routes."""

from collections.abc import Iterable

from services.api.gates import Application, Environ, StartResponse


class Routes:
    """Applications by the path below which they answer; what none of them has is `otherwise`'s.

    `subprotocols`: by path, what a WebSocket there answers to those that offer it.
    """

    def __init__(
        self, groups: dict[str, Application], otherwise: Application, subprotocols: dict[str, str] | None = None
    ) -> None:
        self._subprotocols = subprotocols or {}
        # The longest first, so that /v1/more is not /v1's.
        self._groups = sorted(groups.items(), key=lambda group: -len(group[0]))
        self._otherwise = otherwise

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        for prefix, application in self._groups:
            if path == prefix or path.startswith(f"{prefix}/"):
                return application(environ, start_response)
        return self._otherwise(environ, start_response)

    def app_protocol(self, path: str) -> str | None:
        """gevent-websocket asks."""
        return self._subprotocols.get(path)
