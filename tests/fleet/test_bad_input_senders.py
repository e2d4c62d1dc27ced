"""Bad input of senders: each fault is named in a FAIL1 or counted; the router, and other senders, go on."""

import json
import random
import struct
from collections.abc import Iterator

import pytest

from tests.clients.kinds import connect
from tests.clients.senders import OFFLINE, REFUSED, SENT, RawSender, pack
from tests.clients.zmtp import ZmtpDealer
from tests.fleet.bystanders import Bystanders, bystanders
from tests.fleet.fleet_process import Fleet
from tests.fleet.observations import peak_bytes
from tests.fleet.processes import wait_until


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    """A fleet for this file."""
    with Fleet(worker_heartbeat_ms=100) as started:
        yield started


@pytest.fixture(autouse=True)
def others(fleet: Fleet) -> Iterator[Bystanders]:
    """A sender and clients of every kind that are served before and after each test."""
    with bystanders(fleet) as found:
        yield found


@pytest.fixture
def sender(fleet: Fleet) -> Iterator[RawSender]:
    """The sender that misbehaves."""
    with RawSender(fleet.endpoint) as made:
        yield made


def router_counters(fleet: Fleet) -> dict[str, int]:
    """What the router counts."""
    return fleet.stat()["router"]["counters"]


INDEX, DATA = pack([("nobody", b"payload")])

MALFORMED = {
    "PUSH1 alone": (b"PUSH1", b"r"),
    "PUSH1 without targets": (b"PUSH1", b"r", b""),
    "PUSH1 with a target without payload": (b"PUSH1", b"r", b"", b"alice"),
    "PUSH1 with one and a half targets": (b"PUSH1", b"r", b"", b"alice", b"x", b"bob"),
    "PUSH2 without index and data": (b"PUSH2", b"r", b""),
    "PUSH2 without data": (b"PUSH2", b"r", b"", INDEX),
    "PUSH2 with a frame too many": (b"PUSH2", b"r", b"", INDEX, DATA, b""),
    "PUSH2 with an empty index": (b"PUSH2", b"r", b"", b"", b""),
    "PUSH2 with half an index entry": (b"PUSH2", b"r", b"", INDEX[:5], DATA),
    "PUSH2 with too little data": (b"PUSH2", b"r", b"", INDEX, DATA[:-1]),
    "PUSH2 with too much data": (b"PUSH2", b"r", b"", INDEX, DATA + b"x"),
    "PUSH2 that announces 4 GiB": (b"PUSH2", b"r", b"", struct.pack(">HI", 0xFFFF, 0xFFFF_FFFF), DATA),
    "PUSH1 to all with two targets": (b"PUSH1", b"r", b'{"to": "all"}', b"", b"x", b"", b"y"),
    "STAT1 with more": (b"STAT1", b"r", b"more"),
    "FIND1 without tokens": (b"FIND1", b"r"),
    "KICK1 without tokens": (b"KICK1", b"r"),
    "PUSH1 under an empty request id": (b"PUSH1", b"", b"", b"alice", b"x"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_requests(sender: RawSender, name: str) -> None:
    fault = sender.fail(*MALFORMED[name])
    assert fault["code"] == "malformed"
    assert fault["message"]
    assert sender.push("nobody", b"still served") == OFFLINE


def test_request_ids_that_are_too_long(fleet: Fleet, sender: RawSender) -> None:
    """It is not given back: the answer has an empty request id."""
    answer = sender.ask(b"PUSH1", b"r" * 65, b"", b"alice", b"x")
    assert answer[:2] == [b"FAIL1", b""]
    assert json.loads(answer[2])["code"] == "malformed"
    assert sender.push_all([("nobody", b"x")]) == bytes([OFFLINE])


BAD_OPTIONS = {
    "not JSON": b"{to",
    "not UTF-8": b'{"to": "\xff"}',
    "list": b"[]",
    "number": b"7",
    "deep": b"[" * 8000,
    "long": b"{}" + b" " * 100_000,
    "unknown option": b'{"too": "token"}',
    "to somebody": b'{"to": "somebody"}',
    "to a list": b'{"to": ["token"]}',
    "ttl negative": b'{"ttl": -1}',
    "ttl a float": b'{"ttl": 1.5}',
    "ttl true": b'{"ttl": true}',
    "wait forever": b'{"wait": "forever"}',
    "collapse a number": b'{"collapse": 1}',
    "id empty": b'{"id": ""}',
    "id of 513 bytes": b'{"id": "%b"}' % (b"i" * 513),
    "id half a surrogate pair": b'{"id": "\\ud800"}',
    "timeout_ms 0": b'{"timeout_ms": 0}',
    "timeout_ms huge": b'{"timeout_ms": 1000000000000}',
    "signal unknown": b'{"signal": "SHOUT"}',
    "signal SUB": b'{"signal": "SUB"}',
    "sub_signal over 127": b'{"sub_signal": 128}',
}


@pytest.mark.parametrize("command", [b"PUSH1", b"PUSH2"])
@pytest.mark.parametrize("name", BAD_OPTIONS)
def test_bad_options(sender: RawSender, name: str, command: bytes) -> None:
    rest = (b"alice", b"x") if command == b"PUSH1" else (INDEX, DATA)
    fault = sender.fail(command, b"r", BAD_OPTIONS[name], *rest)
    assert fault["code"] == "bad_options"
    assert fault["message"]


def test_a_key_for_what_is_not_stored(sender: RawSender) -> None:
    fault = sender.fail(b"PUSH1", b"r", b'{"collapse": "key"}', b"alice", b"x")
    assert fault["code"] == "bad_options"
    assert "ttl" in fault["message"]


@pytest.mark.parametrize("packed", [False, True], ids=["PUSH1", "PUSH2"])
def test_too_many_targets(sender: RawSender, packed: bool) -> None:
    """10,000 targets are taken, 10,001 are not, and none of them gets anything."""
    send = sender.send_packed if packed else sender.send_push
    request = send([("nobody", b"")] * 10_000)
    assert sender.done(request)[0] == bytes([OFFLINE]) * 10_000
    request = send([("nobody", b"")] * 10_001)
    answer = sender.receive()
    assert answer[:2] == [b"FAIL1", request]
    assert json.loads(answer[2])["code"] == "too_many_targets"


@pytest.mark.parametrize("command", [b"PUSH3", b"push1", b"\x00", b"x" * 1000, b"DONE1", b"READY1", b"PUSHES1"])
def test_unknown_commands(sender: RawSender, command: bytes) -> None:
    fault = sender.fail(command, b"r", b"", b"alice", b"x")
    assert fault["code"] == "unknown_command"


def test_one_empty_frame(fleet: Fleet, sender: RawSender) -> None:
    """No request id to answer: FAIL1 without one, and a counter."""
    before = router_counters(fleet)["fail_unknown_command"]
    fault = sender.fail(b"")
    assert fault["code"] == "unknown_command"
    assert router_counters(fleet)["fail_unknown_command"] == before + 1


def test_a_thousand_frames_of_noise(fleet: Fleet, sender: RawSender) -> None:
    """In one message, and in messages of a few: each is answered or counted, never fatal, and costs few log lines."""
    numbers = random.Random("noise")
    before = router_counters(fleet)
    lines = fleet.log("router").count("\n")
    noise = [numbers.randbytes(numbers.randint(0, 300)) for _ in range(1000)]
    sender.send(*noise)
    messages = 1
    while noise:
        count = numbers.randint(1, 8)
        sender.send(*noise[:count])
        noise, messages = noise[count:], messages + 1
    for _ in range(messages):
        assert sender.receive()[0] == b"FAIL1"
    after = router_counters(fleet)
    failed = sum(after[name] - before[name] for name in after if name.startswith("fail_"))
    assert failed == messages
    assert after["internal_errors"] == 0
    assert fleet.log("router").count("\n") - lines <= 2
    assert sender.push("nobody", b"still served") == OFFLINE


BAD_TOKENS = {
    "empty": b"",
    "256 bytes": b"t" * 256,
    "70,000 bytes": b"t" * 70_000,
    "NUL": b"a\0b",
    "newline": b"a\n",
    "DEL": b"a\x7f",
    "C1 control": "a\u0085b".encode(),
    "not UTF-8": b"a\xff",
}


@pytest.mark.parametrize("packed", [False, True], ids=["PUSH1", "PUSH2"])
@pytest.mark.parametrize("name", BAD_TOKENS)
def test_target_that_is_no_token(fleet: Fleet, sender: RawSender, name: str, packed: bool) -> None:
    """REFUSED for it alone; the others of the request are delivered."""
    target = BAD_TOKENS[name]
    if packed and len(target) > 0xFFFF:
        target = target[:0xFFFF]  # more does not fit an index
    send = sender.send_packed if packed else sender.send_push
    with connect("v2", fleet.address) as alice, connect("ws_snake", fleet.address) as bob:
        alice.subscribe("good-alice")
        bob.subscribe("good-bob")
        request = send([("good-alice", b"1"), (target, b"2"), ("good-bob", b"3"), ("nobody", b"4")])
        assert sender.done(request)[0] == bytes([SENT, REFUSED, SENT, OFFLINE])
        assert alice.read_push().body == b"1"
        assert bob.read_push().body == b"3"


def test_the_longest_token_is_one(fleet: Fleet, sender: RawSender) -> None:
    token = "\u6d88" * 85
    with connect("v2", fleet.address) as client:
        client.subscribe(token)
        assert sender.push(token, b"x") == SENT
        assert client.read_push().body == b"x"


def test_tokens_that_find_and_kick_cannot_have(sender: RawSender) -> None:
    """Absent, like any other token that nobody has."""
    frames = list(BAD_TOKENS.values())
    answer = sender.ask(b"FIND1", b"r", *frames)
    assert answer[:2] == [b"INFO1", b"r"]
    assert json.loads(answer[2]) == [{"online": False}] * len(frames)
    assert json.loads(sender.ask(b"KICK1", b"r", *frames)[2]) == [False] * len(frames)


@pytest.mark.parametrize("name", [b"", b"n" * 65])
def test_bad_names(sender: RawSender, name: bytes) -> None:
    answer = sender.ask(b"HELLO1", name, b"")
    assert answer[0] == b"FAIL1"
    assert json.loads(answer[2])["code"] == "malformed"


def test_an_id_without_a_name(sender: RawSender) -> None:
    request = (b"PUSH1", b"r", b'{"id": "i"}', b"nobody", b"x")
    assert sender.fail(*request)["code"] == "hello_needed"
    sender.hello("named now")
    assert sender.ask(*request)[:3] == [b"DONE1", b"r", bytes([OFFLINE])]


def test_an_id_with_other_content(sender: RawSender) -> None:
    sender.hello("reuser")
    assert sender.push("nobody", b"first", id="same") == OFFLINE
    assert sender.push("nobody", b"first", id="same") == OFFLINE
    assert sender.fail(b"PUSH1", b"r", b'{"id": "same"}', b"nobody", b"second")["code"] == "id_reused"


def test_frame_over_the_limit_ends_the_connection(fleet: Fleet) -> None:
    """ZeroMQ itself ends it, unanswered, before the frame is read; the router's memory does not move."""
    limit = fleet.settings.max_frame_bytes
    before = peak_bytes(fleet.router_pid())
    peer = ZmtpDealer((fleet.host, fleet.settings.sender_port))
    peer.announce(limit + 1)
    assert peer.wire.read_to_end() == b""
    assert peak_bytes(fleet.router_pid()) - before < 4 << 20
    with RawSender(fleet.endpoint) as sender:
        assert sender.hello("asks")["max_frame_bytes"] == limit


def test_bytes_that_are_not_zeromq(fleet: Fleet) -> None:
    for noise in (b"GET / HTTP/1.1\r\n\r\n", bytes(64), random.Random("zmtp").randbytes(100_000)):
        peer = ZmtpDealer((fleet.host, fleet.settings.sender_port))
        peer.wire.write(noise)
        peer.wire.close()
    wait_until(lambda: router_counters(fleet)["internal_errors"] == 0, "the router answers")
