"""HTTP/1.1 request heads, and their answers: the WebSocket upgrade (RFC 6455, section 4.2) or a plain one.

A connection has one request, without a body; what follows the head of an upgrade are frames.
"""

from base64 import b64encode
from binascii import Error as Base64Error
from binascii import a2b_base64
from hashlib import sha1
from typing import NamedTuple

from gateway.permessage_deflate import negotiate
from shared.errors import ProtocolError, TooLargeError

HEAD_MAX_BYTES = 8192
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_END = b"\r\n\r\n"
_CONTROLS = bytes([*range(9), *range(10, 32), 127])
_NOT_CONTROLS = bytes(set(range(256)) - set(_CONTROLS))
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")
#: Names seen all the time; any other is checked character by character.
_USUAL_NAMES = frozenset(
    {
        "host", "connection", "upgrade", "origin", "user-agent", "accept", "accept-encoding", "accept-language",
        "cache-control", "pragma", "cookie", "sec-websocket-key", "sec-websocket-version", "sec-websocket-extensions",
        "sec-websocket-protocol", "x-forwarded-for", "x-forwarded-proto", "x-real-ip", "sec-fetch-dest",
        "sec-fetch-mode", "sec-fetch-site", "content-length", "authorization",
    }
)  # fmt: skip
#: A second line of these would change the meaning of the request.
_SINGLE = frozenset({"host", "content-length", "sec-websocket-key", "sec-websocket-version", "origin"})


class HttpRequest(NamedTuple):
    """A request head. `path` is without the query; header names are in lower case, repeated ones joined by ", "."""

    method: str
    path: str
    query: str
    minor_version: int
    headers: dict[str, str]


class Handshake(NamedTuple):
    """The answer to a request. Not accepted: send it and close. `window_bits` 0: no permessage-deflate."""

    response: bytes
    accepted: bool
    window_bits: int


def parse_request(
    buffer: bytes | bytearray, offset: int, limit: int = HEAD_MAX_BYTES
) -> tuple[HttpRequest, int] | None:
    """The request head at `offset` and the offset behind it; None: more bytes are needed.

    Raises ProtocolError if it is malformed (answer BAD_REQUEST), TooLargeError over `limit` bytes.
    """
    end = buffer.find(_END, offset, offset + limit)
    if end < 0:
        if len(buffer) - offset >= limit:
            raise TooLargeError("request head", len(buffer) - offset, limit)
        return None
    head = bytes(buffer[offset:end])
    lines = head.decode("latin-1").split("\r\n")
    # Line ends are the only control characters: no bare CR or LF, which peers read differently, and no NUL.
    if head.translate(None, _NOT_CONTROLS) != b"\r\n" * (len(lines) - 1):
        raise ProtocolError("request head with control characters")
    method, path, query, minor_version = _parse_request_line(lines[0])
    return HttpRequest(method, path, query, minor_version, _parse_headers(lines)), end + len(_END)


def _parse_request_line(line: str) -> tuple[str, str, str, int]:
    parts = line.split(" ")
    if len(parts) != 3 or not parts[1] or "\t" in line or parts[2] not in ("HTTP/1.1", "HTTP/1.0"):
        raise ProtocolError("malformed request line")
    method, target, version = parts
    if not method.isascii() or not method.isalpha():
        raise ProtocolError("malformed request method")
    path, _, query = target.partition("?")
    return method, path, query, int(version[-1])


def _parse_headers(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        name = name.lower()
        if not colon or (name not in _USUAL_NAMES and not (name and _TOKEN.issuperset(name))):
            raise ProtocolError("malformed header line")
        value = value.strip(" \t")
        if name in headers:
            if name in _SINGLE:
                raise ProtocolError(f"repeated header {name}")
            value = f"{headers[name]}, {value}"
        headers[name] = value
    return headers


def _plain(status: str, body: str = "", *headers: str) -> bytes:
    text = body or status[4:].lower() + "\n"
    lines = [f"HTTP/1.1 {status}", *headers, "Content-Type: text/plain", f"Content-Length: {len(text)}"]
    return "\r\n".join([*lines, "Connection: close", "", text]).encode()


BAD_REQUEST = _plain("400 Bad Request")
HEAD_TOO_LARGE = _plain("431 Request Header Fields Too Large")
_HEALTHY = _plain("200 OK", "ok\n")
_UNHEALTHY = _plain("503 Service Unavailable")
_FORBIDDEN = _plain("403 Forbidden", "origin not permitted\n")
_NOT_FOUND = _plain("404 Not Found")
_BAD_METHOD = _plain("405 Method Not Allowed", "", "Allow: GET")
_UPGRADE_REQUIRED = _plain("426 Upgrade Required", "", "Upgrade: websocket", "Sec-WebSocket-Version: 13")

_SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "


def answer_request(  # noqa: PLR0911
    request: HttpRequest, *, deflate: bool, origins: frozenset[str], healthy: bool
) -> Handshake:
    """The answer to a request. `origins`: permitted Origin values in lower case, empty for any.

    A request without an Origin does not come from a browser and is let in.
    """
    headers = request.headers
    if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
        return Handshake(BAD_REQUEST, False, 0)
    if request.method != "GET":
        return Handshake(_BAD_METHOD, False, 0)
    if request.path == "/health":
        return Handshake(_HEALTHY if healthy else _UNHEALTHY, False, 0)
    if "websocket" not in _tokens(headers.get("upgrade", "")):
        return Handshake(_UPGRADE_REQUIRED if request.path in ("/", "/ws") else _NOT_FOUND, False, 0)
    if headers.get("sec-websocket-version") != "13":
        return Handshake(_UPGRADE_REQUIRED, False, 0)
    if origins and "origin" in headers and headers["origin"].lower() not in origins:
        return Handshake(_FORBIDDEN, False, 0)
    return _upgrade(request, deflate)


def _tokens(value: str) -> list[str]:
    """The members of a comma-separated header value, in lower case."""
    value = value.lower()
    return [part.strip(" \t") for part in value.split(",")] if "," in value else [value]


def _upgrade(request: HttpRequest, deflate: bool) -> Handshake:
    headers = request.headers
    key = headers.get("sec-websocket-key", "").encode("latin-1")
    try:
        nonce = a2b_base64(key, strict_mode=True)
    except Base64Error:
        nonce = b""
    if len(nonce) != 16 or request.minor_version < 1 or "upgrade" not in _tokens(headers.get("connection", "")):
        return Handshake(BAD_REQUEST, False, 0)
    response = _SWITCHING + b64encode(sha1(key + _GUID, usedforsecurity=False).digest())
    offered = headers.get("sec-websocket-extensions") if deflate else None
    agreed = negotiate((offered,)) if offered else None
    if agreed is None:
        return Handshake(response + _END, True, 0)
    extension, window_bits = agreed
    return Handshake(b"%b\r\nSec-WebSocket-Extensions: %b\r\n\r\n" % (response, extension.encode()), True, window_bits)
