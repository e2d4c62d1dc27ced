"""Errors of the HTTP API: RFC 9457 problem details with stable codes (docs/http-api.md, section Errors). Pure."""

from http import HTTPStatus
from typing import Any

import ujson

from shared.errors import PushError

MEDIA_TYPE = "application/problem+json"

#: Code to (status, title). Codes never change their meaning; new ones may come.
CODES: dict[str, tuple[HTTPStatus, str]] = {
    "bad_request": (HTTPStatus.BAD_REQUEST, "The request is malformed"),
    "not_json": (HTTPStatus.BAD_REQUEST, "The body is not JSON"),
    "unauthorized": (HTTPStatus.UNAUTHORIZED, "No valid API key was shown"),
    "insufficient_scope": (HTTPStatus.FORBIDDEN, "The API key does not have the scope needed"),
    "foreign_page": (HTTPStatus.FORBIDDEN, "An open API takes no requests of web pages from elsewhere"),
    "no_such_path": (HTTPStatus.NOT_FOUND, "There is nothing at this path"),
    "not_connected": (HTTPStatus.NOT_FOUND, "No client is connected with this token"),
    "no_such_group": (HTTPStatus.NOT_FOUND, "There is no such group"),
    "no_such_worker": (HTTPStatus.NOT_FOUND, "There is no such worker on this host"),
    "other_host": (HTTPStatus.MISDIRECTED_REQUEST, "The worker runs on another host, whose API can do it"),
    "method_not_allowed": (HTTPStatus.METHOD_NOT_ALLOWED, "This path does not take this method"),
    "too_slow": (HTTPStatus.REQUEST_TIMEOUT, "The request did not come in time"),
    "already_leaving": (HTTPStatus.CONFLICT, "The worker does not run, or is leaving already"),
    "exists": (HTTPStatus.CONFLICT, "There is one already"),
    "too_large": (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The request is too large"),
    "uri_too_long": (HTTPStatus.REQUEST_URI_TOO_LONG, "The request line is too long"),
    "unsupported_media_type": (HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "The body has another Content-Type than is taken"),
    "invalid": (HTTPStatus.UNPROCESSABLE_ENTITY, "A parameter or field is missing, unknown or wrong"),
    "idempotency_key_reused": (HTTPStatus.CONFLICT, "The Idempotency-Key came with another request before"),
    "too_many_headers": (HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "Too many or too long header fields"),
    "internal": (HTTPStatus.INTERNAL_SERVER_ERROR, "Something is wrong in the API itself: see its log"),
    "overloaded": (HTTPStatus.SERVICE_UNAVAILABLE, "Too much is under way"),
    "unavailable": (HTTPStatus.SERVICE_UNAVAILABLE, "A process of the fleet does not answer"),
}
#: Seconds after which a request that was turned away may come again.
_RETRY_AFTER_S = 1
_RETRIED = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)


class Problem(PushError):
    """What is answered in place of what was asked for. `code`: one of CODES; `errors`: of single fields."""

    def __init__(self, code: str, detail: str, errors: list[dict[str, str]] | None = None, **headers: str) -> None:
        super().__init__(code, detail)
        self.code, self.detail, self.errors = code, detail, errors
        self._headers = headers

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"

    @property
    def status(self) -> HTTPStatus:
        return CODES[self.code][0]

    def fields(self, request_id: str = "") -> dict[str, Any]:
        """The members of the problem details."""
        status, title = CODES[self.code]
        body: dict[str, Any] = {
            "type": f"urn:push-gateway:problem:{self.code}",
            "title": title,
            "status": status.value,
            "code": self.code,
            "detail": self.detail,
        }
        if request_id:
            body["request_id"] = request_id
        return body if self.errors is None else {**body, "errors": self.errors}

    def content(self, request_id: str = "") -> bytes:
        """The body."""
        return ujson.dumps(self.fields(request_id), escape_forward_slashes=False).encode() + b"\n"

    def headers(self) -> list[tuple[str, str]]:
        """Those of the answer, without a length."""
        found = [("Content-Type", MEDIA_TYPE), ("Cache-Control", "no-store")]
        found += [(name.replace("_", "-"), value) for name, value in self._headers.items()]
        if self.status in _RETRIED:
            found.append(("Retry-After", str(_RETRY_AFTER_S)))
        return found

    def whole_answer(self) -> bytes:
        """All bytes of an HTTP/1.1 answer that ends its connection, for requests that no application sees."""
        content = self.content()
        headers = [*self.headers(), ("Content-Length", str(len(content))), ("Connection", "close")]
        lines = [f"HTTP/1.1 {self.status.value} {self.status.phrase}", *(f"{name}: {value}" for name, value in headers)]
        return "\r\n".join([*lines, "", ""]).encode() + content
