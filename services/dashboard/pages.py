"""The dashboard's files, as they come with the package, under a strict Content-Security-Policy."""

from collections.abc import Iterable
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path

from services.api.gates import Environ, StartResponse

_DIRECTORY = Path(__file__).with_name("static")
_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".LICENSE": "text/plain; charset=utf-8",
}
#: Nothing of elsewhere, nothing inline, and in nobody's frame.
_HEADERS = [
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cache-Control", "no-cache"),
]


class Pages:
    """WSGI. `/` is the page, `/dashboard/NAME` its files; all are read once, when it starts."""

    def __init__(self) -> None:
        files = {f"/dashboard/{path.name}": path for path in _DIRECTORY.iterdir() if path.suffix in _KINDS}
        files["/"] = _DIRECTORY / "index.html"
        self._files = {at: (_KINDS[path.suffix], path.read_bytes()) for at, path in files.items()}
        self._tags = {at: f'"{sha256(content).hexdigest()[:16]}"' for at, (_, content) in self._files.items()}

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        headers = list(_HEADERS)
        kind, content = "text/plain", b""
        if path not in self._files:
            status, content = HTTPStatus.NOT_FOUND, b"no such file\n"
        elif method not in ("GET", "HEAD"):
            status, content = HTTPStatus.METHOD_NOT_ALLOWED, b"only GET and HEAD\n"
        else:
            status, (kind, content) = HTTPStatus.OK, self._files[path]
            headers.append(("ETag", self._tags[path]))
            if environ.get("HTTP_IF_NONE_MATCH") == self._tags[path]:
                status, content = HTTPStatus.NOT_MODIFIED, b""
        if status != HTTPStatus.NOT_MODIFIED:
            headers += [("Content-Type", kind), ("Content-Length", str(len(content)))]
        start_response(f"{status.value} {status.phrase}", headers)
        return [] if method == "HEAD" else [content]
