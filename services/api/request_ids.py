"""The request id of each HTTP request: the one that came with it, or a new one; it is told in the answer."""

import os
from collections.abc import Iterable

from services.api.gates import REQUEST_ID, Application, Environ, StartResponse
from shared.origins import is_request_id

HEADER = "X-Request-Id"


class RequestIds:
    """An application whose requests have ids. One that is no id (docs/logs.md) is passed over."""

    def __init__(self, application: Application) -> None:
        self._application = application

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        said = environ.get("HTTP_X_REQUEST_ID", "")
        environ[REQUEST_ID] = request_id = said if is_request_id(said) else os.urandom(8).hex()

        def start(status: str, headers: list[tuple[str, str]], *more: object) -> object:
            return start_response(status, [*headers, (HEADER, request_id)], *more)

        return self._application(environ, start)
