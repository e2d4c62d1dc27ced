"""Which application answers which paths: one process, one port, several groups of routes."""

from collections.abc import Iterable

from services.api.gates import Application, Environ, StartResponse


class Routes:
    """Applications by the path below which they answer; what none of them has is `otherwise`'s."""

    def __init__(self, groups: dict[str, Application], otherwise: Application) -> None:
        # The longest first, so that /v1/more is not /v1's.
        self._groups = sorted(groups.items(), key=lambda group: -len(group[0]))
        self._otherwise = otherwise

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        for prefix, application in self._groups:
            if path == prefix or path.startswith(f"{prefix}/"):
                return application(environ, start_response)
        return self._otherwise(environ, start_response)
