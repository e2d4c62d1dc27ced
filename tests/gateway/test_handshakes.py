from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.handshakes import BAD_REQUEST, HEAD_TOO_LARGE, HttpRequest, answer_request, parse_request
from shared.errors import ProtocolError, TooLargeError
from tests.chunks import bytewise

UPGRADE = (
    b"GET /ws?x=1 HTTP/1.1\r\n"
    b"Host: 127.0.0.1:6789\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: keep-alive, Upgrade\r\n"
    b"Origin: https://example.org\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
    b"\r\n"
)
ANY = frozenset()


def request_of(data):
    return parse_request(data, 0)[0]


def answer(data, deflate=True, origins=ANY, healthy=True):
    return answer_request(request_of(data), deflate=deflate, origins=origins, healthy=healthy)


def status(data, **how):
    handshake = answer(data, **how)
    head, _, body = handshake.response.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    if not handshake.accepted:
        assert b"Connection: close" in lines
        assert b"Content-Length: %d" % len(body) in lines
    return int(lines[0].split(b" ")[1]), lines[1:], body


def without(name):
    return b"".join(line for line in UPGRADE.splitlines(True) if not line.startswith(name + b":"))


def replaced(name, value):
    return without(name)[:-2] + (name + b": " + value + b"\r\n\r\n")


def test_an_upgrade_spelled_out():
    request, end = parse_request(b"??" + UPGRADE + b"\x81", 2)
    assert end == len(UPGRADE) + 2
    assert request == HttpRequest(
        "GET",
        "/ws",
        "x=1",
        1,
        {
            "host": "127.0.0.1:6789",
            "upgrade": "websocket",
            "connection": "keep-alive, Upgrade",
            "origin": "https://example.org",
            "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
            "sec-websocket-version": "13",
            "sec-websocket-extensions": "permessage-deflate; client_max_window_bits",
        },
    )


def test_the_answer_to_an_upgrade_spelled_out():
    assert answer(UPGRADE, deflate=False) == (
        b"HTTP/1.1 101 Switching Protocols\r\n"
        b"Upgrade: websocket\r\n"
        b"Connection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
        b"\r\n",
        True,
        0,
    )


def test_the_answer_with_permessage_deflate():
    handshake = answer(UPGRADE)
    assert handshake.window_bits == 15
    assert handshake.response.endswith(
        b"\r\nSec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover"
        b"\r\n\r\n"
    )
    declined = answer(replaced(b"Sec-WebSocket-Extensions", b"permessage-deflate; server_max_window_bits=8"))
    assert declined.window_bits == 0
    assert b"Extensions" not in declined.response
    two_lines = UPGRADE[:-2] + b"Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10\r\n\r\n"
    assert answer(two_lines.replace(b"client_max_window_bits", b"nonsense", 1)).window_bits == 10


def test_it_may_come_in_any_split():
    for at in range(len(UPGRADE)):
        assert parse_request(UPGRADE[:at], 0) is None
    buffer = bytearray()
    for byte in bytewise(UPGRADE):
        assert parse_request(buffer, 0) is None
        buffer += byte
    assert parse_request(buffer, 0) == (request_of(UPGRADE), len(UPGRADE))


@pytest.mark.parametrize("path", [b"/", b"/ws", b"/chat/room", b"/ws?token=1"])
def test_an_upgrade_is_accepted_on_every_path(path):
    assert answer(UPGRADE.replace(b"/ws?x=1", path)).accepted


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 426),
        (b"GET /ws HTTP/1.1\r\nHost: x\r\n\r\n", 426),
        (b"GET /elsewhere HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"GET /healthy HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"GET /health HTTP/1.0\r\n\r\n", 200),
        (b"POST /health HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 426),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: +0\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (UPGRADE[:-2] + b"Content-Length: 7\r\n\r\n", 400),
        (UPGRADE[:-2] + b"Transfer-Encoding: identity\r\n\r\n", 400),
        (UPGRADE.replace(b"HTTP/1.1", b"HTTP/1.0"), 400),
        (without(b"Connection"), 400),
        (replaced(b"Connection", b"keep-alive"), 400),
        (without(b"Sec-WebSocket-Key"), 400),
        (replaced(b"Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ"), 400),
        (replaced(b"Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25j"), 400),
        (replaced(b"Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ== x"), 400),
        (replaced(b"Sec-WebSocket-Key", b"\xff"), 400),
        (without(b"Sec-WebSocket-Version"), 426),
        (replaced(b"Sec-WebSocket-Version", b"8"), 426),
        (replaced(b"Sec-WebSocket-Version", b"13, 8"), 426),
        (replaced(b"Upgrade", b"h2c"), 404),
        (replaced(b"Upgrade", b"h2c, WebSocket"), 101),
        (UPGRADE.replace(b"/ws?x=1", b"/health"), 200),
    ],
)
def test_statuses(data, code):
    code_answered, headers, _ = status(data)
    # /ws without a WebSocket upgrade is known to need one; the upgrade to something else goes to /ws too.
    assert code_answered == (426 if code == 404 and b"/ws" in data else code)
    if code_answered == 426:
        assert b"Sec-WebSocket-Version: 13" in headers
        assert b"Upgrade: websocket" in headers


def test_health():
    data = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    assert status(data)[::2] == (200, b"ok\n")
    assert status(data, healthy=False)[0] == 503


def test_origins():
    origins = frozenset({"https://example.org"})
    assert answer(UPGRADE, origins=origins).accepted
    assert answer(replaced(b"Origin", b"HTTPS://Example.org"), origins=origins).accepted
    assert answer(without(b"Origin"), origins=origins).accepted
    assert status(replaced(b"Origin", b"https://evil.example"), origins=origins)[0] == 403
    assert status(replaced(b"Origin", b"null"), origins=origins)[0] == 403
    assert status(replaced(b"Origin", b""), origins=origins)[0] == 403


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost : x",
        b"GET / HTTP/1.1\r\n Host: x",
        b"GET / HTTP/1.1\r\nHost: x\r\n folded",
        b"GET / HTTP/1.1\r\nHost: x\r\n\tfolded: y",
        b"GET / HTTP/1.1\r\nno colon",
        b"GET / HTTP/1.1\r\n: no name",
        b"GET / HTTP/1.1\r\nH\xc3\xb6st: x",
        b"GET / HTTP/1.1\r\nHost: x\nTransfer-Encoding: chunked",
        b"GET / HTTP/1.1\r\nHost: x\rTransfer-Encoding: chunked",
        b"GET / HTTP/1.1\r\nHost: x\0",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b",
        b"GET / HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 5",
        b"GET / HTTP/1.1\r\nContent-Length: 0\r\ncontent-length: 0",
        b"GET / HTTP/1.1\r\nSec-WebSocket-Key: a\r\nSec-WebSocket-Key: b",
        b"GET  / HTTP/1.1",
        b"GET / HTTP/1.1 ",
        b"GET / HTTP/2",
        b"GET / http/1.1",
        b"GET /",
        b"GET",
        b"",
        b"GET / HTTP/1.10",
        b"G\xcb\x87T / HTTP/1.1",
        b"G:T / HTTP/1.1",
        b"GET /a\tb HTTP/1.1",
    ],
)
def test_malformed_heads(head):
    with pytest.raises(ProtocolError):
        parse_request(head + b"\r\n\r\n", 0)


def test_unusual_but_well_formed_heads():
    data = b"GET /a?b?c HTTP/1.1\r\nX-Odd!#$%&'*+-.^_`|~1:\r\nAccept:\ta \r\nACCEPT: b\r\nX: \xe6\r\n\r\n"
    assert request_of(data) == HttpRequest(
        "GET", "/a", "b?c", 1, {"x-odd!#$%&'*+-.^_`|~1": "", "accept": "a, b", "x": "\xe6"}
    )


def test_a_head_over_the_limit():
    data = b"GET / HTTP/1.1\r\nX: " + b"y" * 8192
    assert parse_request(data[:8191], 0) is None
    with pytest.raises(TooLargeError, match="request head of 8192 bytes"):
        parse_request(data[:8192], 0)
    fits = data[:8188] + b"\r\n\r\n"
    assert parse_request(fits, 0)[1] == 8192
    with pytest.raises(TooLargeError):
        parse_request(data[:8189] + b"\r\n\r\n", 0)


@given(st.binary(max_size=200))
def test_random_bytes_raise_only_what_is_documented(data):
    for head in (data, b"GET / HTTP/1.1\r\n" + data + b"\r\n\r\n"):
        with suppress(ProtocolError, TooLargeError):
            parsed = parse_request(head, 0)
            if parsed:
                answer_request(parsed[0], deflate=True, origins=ANY, healthy=True)


names = st.sampled_from(
    ["Upgrade", "Connection", "Sec-WebSocket-Key", "Sec-WebSocket-Version", "Sec-WebSocket-Extensions", "Origin", "X"]
)
values = st.sampled_from(["websocket", "Upgrade", "dGhlIHNhbXBsZSBub25jZQ==", "13", "permessage-deflate", "", "a,b"])


@given(st.lists(st.tuples(names, values), max_size=8, unique_by=lambda pair: pair[0]))
def test_any_headers_get_an_answer(headers):
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    code, _, _ = status(f"GET /ws HTTP/1.1\r\n{lines}\r\n".encode())
    assert code in (101, 400, 426)


def test_answers_to_heads_that_do_not_parse():
    assert BAD_REQUEST.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert HEAD_TOO_LARGE.startswith(b"HTTP/1.1 431 ")
