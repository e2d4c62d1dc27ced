"""Who may read what is not below /v1: figures and metrics."""

import ipaddress
from collections.abc import Callable, Iterable

from services.api.addresses import unmapped
from services.api.gates import Application, Environ, StartResponse
from services.api.keys import READ
from services.api.problems import Problem
from services.api.v1.access import Access, bearer, check_page

Check = Callable[[Environ], object]

#: Header fields by which proxies say that they ask for somebody else.
_OF_PROXIES = ("HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED", "HTTP_X_REAL_IP", "HTTP_VIA")


class Readers:
    """Lets them in. `metrics_access`: that setting."""

    def __init__(self, access: Access, metrics_access: str) -> None:
        self._access, self._metrics_access = access, metrics_access

    def check(self, environ: Environ) -> None:
        """A key with the scope `read`, or an open API. Raises Problem."""
        self._access.admit(bearer(environ.get("HTTP_AUTHORIZATION", "")), READ, *_page(environ))

    def check_metrics(self, environ: Environ) -> None:
        """The same; but who is on this machine, or everybody, needs none where the setting says so. Raises Problem."""
        if self._metrics_access == "loopback" and is_of_this_machine(environ):
            check_page(*_page(environ))
        elif self._metrics_access != "open":
            self.check(environ)


class Guarded:
    """A WSGI application behind a check, whose Problem is the answer."""

    def __init__(self, application: Application, check: Check) -> None:
        self._application, self._check = application, check

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if "wsgi.websocket" in environ:
            return []  # there is none here
        try:
            self._check(environ)
        except Problem as problem:
            content = problem.content()
            headers = [*problem.headers(), ("Content-Length", str(len(content)))]
            start_response(f"{problem.status.value} {problem.status.phrase}", headers)
            return [] if environ["REQUEST_METHOD"] == "HEAD" else [content]
        return self._application(environ, start_response)


def is_of_this_machine(environ: Environ) -> bool:
    """Whether the peer is, and is no proxy that says so."""
    if any(name in environ for name in _OF_PROXIES):
        return False
    try:
        return ipaddress.ip_address(unmapped(environ.get("REMOTE_ADDR", ""))).is_loopback
    except ValueError:
        return False


def _page(environ: Environ) -> tuple[str, str | None]:
    return environ.get("HTTP_HOST", ""), environ.get("HTTP_ORIGIN")
