import base64
import json
import time
import zlib

import pytest

from gateway.connections import Login, Protocol, State
from gateway.frames import encode_close
from gateway.permessage_deflate import decompress
from shared.packets import Packet, encode_packet
from shared.reasons import CloseReason
from shared.signals import Signal
from tests.chunks import bytewise
from tests.gateway.client_frames import masked
from tests.gateway.parts import turns, until

KEY = base64.b64encode(bytes(16))
HEAD = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: " + KEY + b"\r\n"
)
PING = encode_packet(2, Packet(Signal.PING))


@pytest.fixture
def one(worker):
    parts = worker()
    parts.ring(1, [parts])
    return parts


def head_of(end):
    """(status line, headers) of an HTTP answer."""
    until(lambda: b"\r\n\r\n" in end.received or end.pull())
    head, _, rest = bytes(end.received).partition(b"\r\n\r\n")
    end.received[:] = rest
    return head.decode().split("\r\n")[0], head


def upgraded(parts, extra=b""):
    """(client's end, record) of a WebSocket."""
    end, connection = parts.connect()
    end.send(HEAD + extra + b"\r\n")
    assert head_of(end)[0] == "HTTP/1.1 101 Switching Protocols"
    return end, connection


def ask(end, text):
    """Content of the answer to a text message."""
    end.send(masked(1, json.dumps(text).encode()))
    return json.loads(json.loads(end.frame()[1])["content"])


# --- HTTP


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /health HTTP/1.1", "200 OK"),
        (b"GET / HTTP/1.1", "426 Upgrade Required"),
        (b"GET /nothing HTTP/1.1", "404 Not Found"),
        (b"GET / HTTP/9", "400 Bad Request"),
        (b"GET  HTTP/1.1", "400 Bad Request"),
        (b"GET / HTTP/1.1\r\nno header", "400 Bad Request"),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1", "431 Request Header Fields Too Large"),
    ],
)
@pytest.mark.parametrize("how", ["at once", "byte by byte", "behind a PROXY header"])
def test_a_plain_request_is_answered_and_closed(one, request_line, status, how):
    end, connection = one.connect()
    data = request_line + b"\r\nHost: x\r\n\r\n"
    if how == "behind a PROXY header":
        connection.proxied = 2
        data = b"PROXY TCP4 9.8.7.6 1.1.1.1 555 80\r\n" + data
    if how == "byte by byte" and len(data) < 1000:
        for byte in bytewise(data[:-1]):
            end.send(byte)
            turns(1)
        data = data[-1:]
    end.send(data)
    answer = end.rest()
    assert answer.startswith(b"HTTP/1.1 " + status.encode() + b"\r\n")
    assert b"Connection: close" in answer


def test_health_tells_when_the_worker_is_not_in_the_ring(one):
    one.conversations.healthy = lambda: False
    end, _ = one.connect()
    end.send(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    assert end.rest().startswith(b"HTTP/1.1 503 ")
    assert one.counters["close_http_done"] == 1


def test_noise_is_not_answered(one):
    end, _ = one.connect()
    end.send(b"HELO mail\r\n")
    assert end.rest() == b""
    assert one.counters["close_bad_protocol"] == 1


def test_an_upgrade(one):
    end, connection = one.connect()
    end.send(HEAD + b"\r\n")
    status, head = head_of(end)
    assert status == "HTTP/1.1 101 Switching Protocols"
    assert b"Sec-WebSocket-Accept: ICX+Yqv66kxgM0FcWaLWlFLwTAI=" in head
    assert (connection.protocol, connection.window_bits) == (Protocol.WS, 0)


def test_frames_behind_an_upgrade_in_one_write(one):
    end, _ = one.connect()
    end.send(HEAD + b"\r\n" + masked(1, b'{"signal":"PING"}'))
    head_of(end)
    assert json.loads(end.frame()[1])["signal"] == "PING"


# --- WebSocket


def test_pings_are_answered_and_pongs_are_not(one):
    end, _ = upgraded(one)
    end.send(masked(9, b"") + masked(10, b"unasked") + masked(9, b"x" * 125))
    assert end.frame() == (0x8A, b"")
    assert end.frame() == (0x8A, b"x" * 125)
    assert end.quiet()


@pytest.mark.parametrize("payload", [b"", b"\x03\xe8", b"\x03\xe8bye", b"\x0f\xa0"])
def test_the_close_handshake(one, payload):
    end, _ = upgraded(one)
    end.send(masked(8, payload) + masked(9, b"too late"))
    assert end.frame() == (0x88, payload[:2])
    assert end.rest() == b""
    assert one.counters["close_client_disconnect"] == 1


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (masked(8, b"\x03"), 1002),
        (masked(8, b"\x03\xed"), 1002),
        (masked(8, b"\x03\xe8\xff"), 1007),
        (masked(1, b"\xff"), 1007),
        (masked(1, b"x", rsv=4), 1002),
        (masked(3, b"x"), 1002),
        (masked(0, b"x"), 1002),
        (b"\x81\x01x", 1002),
        (bytes.fromhex("82 FF 0000000000200000"), 1009),
        (masked(2, b"no packet"), 1002),
        (masked(1, b'{"signal":"PUSH"}'), 1002),
        (masked(1, b'{"signal":"NO_SUCH"}'), 1002),
    ],
)
def test_errors_have_their_close_code(one, data, code):
    end, _ = upgraded(one)
    end.send(data)
    first, payload = end.frame()
    assert (first, int.from_bytes(payload[:2], "big")) == (0x88, code)
    assert end.rest() == b""


def test_text_and_packets_do_not_mix_on_one_websocket(one):
    end, _ = upgraded(one)
    end.send(masked(2, PING))
    assert end.frame()[0] == 0x82
    end.send(masked(1, b'{"signal":"PING"}'))
    assert end.frame() == (0x88, encode_close(1002, "bad_protocol"))


def test_a_bare_heartbeat_has_no_answer(one):
    end, connection = upgraded(one)
    one.advance(5)
    end.send(masked(1, b"ping"))
    until(lambda: connection.deadline - one.loop.wheel.tick > 590)
    assert end.quiet()


def test_permessage_deflate(one):
    end, connection = upgraded(one, b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n")
    assert connection.window_bits == 15
    deflater = zlib.compressobj(wbits=-15)
    text = json.dumps({"signal": "SUB", "content": {"token": "t" * 200}}).encode()
    packed = deflater.compress(text) + deflater.flush(zlib.Z_SYNC_FLUSH)
    end.send(masked(1, packed[:-4], rsv=4))
    first, payload = end.frame()
    assert first == 0xC1
    assert json.loads(decompress(payload, 10_000))["signal"] == "SUB"


def test_a_message_that_inflates_past_the_limit(one):
    end, _ = upgraded(one, b"Sec-WebSocket-Extensions: permessage-deflate\r\n")
    deflater = zlib.compressobj(wbits=-15)
    packed = deflater.compress(bytes(2 << 20)) + deflater.flush(zlib.Z_SYNC_FLUSH)
    end.send(masked(1, packed[:-4], rsv=4))
    assert end.frame() == (0x88, encode_close(1009, "too_large"))


def test_the_whole_of_a_text_clients_life(one):
    end, _ = upgraded(one)
    assert ask(end, {"signal": "CONTACT", "content": {}}) == {"status": 401, "message": "not bound"}
    assert ask(end, {"signal": "SUB", "content": {"token": "alice"}}) == {"status": 200, "token": "alice"}
    assert ask(end, {"signal": "PING", "content": {"interval": 30}}) == {"interval": 30}
    assert ask(end, {"signal": "SUB", "content": '{"token":"bob"}'})["status"] == 409
    assert ask(end, {"signal": "PUBLISH", "sub_signal": "MN", "message_id": 5}) == {
        "code": 240,
        "message": "not implemented",
    }
    assert ask(end, ["no object"])["status"] == 400
    one.push((b"alice", b"hello"))
    assert json.loads(end.frame()[1])["content"] == "hello"
    end.send(masked(1, b'{"signal":"DISCONNECT"}'))
    assert end.frame() == (0x88, encode_close(1000, "client_disconnect"))
    assert end.rest() == b""


# --- packets


@pytest.mark.parametrize("version", [0, 1, 2])
def test_the_whole_of_a_packet_clients_life(one, version):
    end, _ = one.connect()
    assert end.ask(Signal.CONTACT, {}, version)["status"] == 401
    assert end.ask(Signal.SUB, {"token": "alice"}, version)["status"] == 200
    assert end.ask(Signal.PING, {"interval": 30}, version) == {"interval": 30}
    one.push((b"alice", b"hello"))
    assert end.packet(version).body == b"hello"
    end.say(Signal.DISCONNECT, None, version)
    assert end.rest() == b""
    assert one.counters["close_client_disconnect"] == 1


def test_a_refused_sub_is_answered_before_the_close(one):
    end, _ = one.connect()
    end.send(encode_packet(2, Packet(Signal.SUB, 0, 7, b"[]")) + PING)
    packet = end.packet()
    assert (packet.message_id, json.loads(packet.body)["status"]) == (7, 400)
    assert end.rest() == b""
    assert one.counters["close_rejected"] == 1


# --- deadlines


def test_the_hello_deadline_is_not_moved_by_what_is_no_message(one):
    end, connection = one.connect(seconds=5)
    connection.proxied = 2
    for data in (b"PROXY UNKNOWN\r\n", HEAD, b"\r\n", masked(9, b"p"), masked(1, b'{"sig', fin=False)):
        end.send(data)
        turns()
        one.advance()
    assert one.counters["close_hello_timeout"] == 1
    assert b"hello_timeout" in end.rest()


def test_without_a_word_about_it_the_heartbeat_is_the_longest(one):
    end, connection = one.connect()
    end.ask(Signal.PING)
    one.advance(600)
    assert connection.state == State.OPEN
    one.advance()
    assert json.loads(end.packet().body) == {"reason": "heartbeat_timeout"}
    assert end.rest() == b""


@pytest.mark.parametrize(("interval", "deadline"), [(30, 45), (9, 14), (1, 10), (90_000, 600)])
def test_the_heartbeat_that_was_agreed(one, interval, deadline):
    end, _ = one.bound(b"alice")
    end.ask(Signal.PING, {"interval": interval})
    one.advance(deadline)
    assert end.quiet()
    one.advance()
    assert json.loads(end.packet().body) == {"reason": "heartbeat_timeout"}
    assert one.counters["close_heartbeat_timeout"] == 1


def test_any_whole_packet_moves_the_deadline_and_a_push_does_not(one):
    end, _ = one.bound(b"alice")
    end.ask(Signal.PING, {"interval": 30})
    one.advance(40)
    end.ask(Signal.CONTACT, {})
    one.advance(40)
    one.push((b"alice", b"x"))
    assert end.packet().body == b"x"
    one.advance(6)
    assert json.loads(end.packet().body) == {"reason": "heartbeat_timeout"}


def test_a_websocket_ping_moves_the_deadline_of_one_that_was_heard(one):
    end, connection = upgraded(one)
    ask(end, {"signal": "PING", "content": {"interval": 30}})
    one.advance(40)
    end.send(masked(9, b"p"))
    end.frame()
    one.advance(40)
    assert connection.state == State.OPEN


def logged_in(one, expires):
    end, connection = one.bound(b"alice")
    connection.login = Login("ann", [b"alice"], expires)
    end.ask(Signal.PING)
    return end, connection


def test_when_the_credential_expires(one):
    end, connection = logged_in(one, int(time.time()) + 100)
    assert 99 <= connection.deadline - one.loop.wheel.tick <= 103
    connection.login.expires = int(time.time()) - 1
    one.advance(103)
    assert json.loads(end.packet().body) == {"reason": "credential_expired"}
    assert one.counters["close_credential_expired"] == 1


def test_a_credential_that_has_a_moment_left_is_given_it(one):
    """The wheel's second may come before the clock's: neither too early, nor for another reason."""
    end, connection = logged_in(one, int(time.time()) + 2)
    one.advance(4)  # while no time has passed at all
    assert end.quiet()
    assert connection.state == State.BOUND
    connection.login.expires = int(time.time()) - 1
    one.advance(1)
    assert json.loads(end.packet().body) == {"reason": "credential_expired"}


def test_what_it_sends_gains_an_expired_credential_no_time(one):
    end, connection = logged_in(one, int(time.time()) + 2)
    connection.login.expires = int(time.time()) - 1
    before = connection.deadline
    end.ask(Signal.PING, {"interval": 30})
    assert connection.deadline <= before


def test_a_sub_that_waits_has_no_deadline(worker):
    one = worker(move_timeout_s=600)
    end, connection = one.connect(seconds=3)
    end.say(Signal.SUB, {"token": "alice"})
    until(lambda: connection.state == State.BINDING)
    end.say(Signal.PING)
    one.advance(500)
    assert end.quiet()
    one.ring(1, [one])
    assert json.loads(end.packet().body)["status"] == 200
    assert end.packet().signal == Signal.PING


def test_a_client_that_asks_without_reading_is_closed_as_slow(worker):
    one = worker(out_buffer_bytes=4096)
    one.ring(1, [one])
    end, connection = one.connect(buffer=1)
    for _ in range(100):
        end.send(PING * 20)
        turns(1)
        if connection.fd < 0:
            break
        one.advance()
    assert one.counters["close_slow_consumer"] == 1


def test_a_kick_and_a_shutdown_are_told_in_the_words_of_the_protocol(one):
    text, _ = upgraded(one)
    ask(text, {"signal": "SUB", "content": {"token": "alice"}})
    one.landing.disconnect_all(CloseReason.SHUTDOWN)
    body = json.loads(json.loads(text.frame()[1])["content"])
    assert body["reason"] == "shutdown"
    assert text.frame() == (0x88, encode_close(1012, "shutdown"))


# --- calls


def test_a_client_is_read_again_after_a_bug_in_what_its_answer_does(one, monkeypatch):
    """It costs the answer, not the connection."""
    answers = []

    class Service:
        def ask(self, topic, key, fields, body, done):
            answers.append(done)

    rules = one.conversations._rules
    monkeypatch.setattr(one.conversations, "calls", Service())
    monkeypatch.setattr(rules.forwarding, "serves", lambda topic: True)
    monkeypatch.setattr(rules, "answered", lambda *_: 1 // 0)
    end, connection = one.connect()
    end.send(encode_packet(2, Packet(Signal.SUB)) + PING)
    until(lambda: answers)
    turns(3)
    end.pull()
    assert (bytes(end.received), connection.calls) == (b"", 1)  # what it says next waits for the answer
    with pytest.raises(ZeroDivisionError):
        answers[0](0, b"")
    until(lambda: end.pull() or end.received)
    assert end.packet().signal == Signal.PING
