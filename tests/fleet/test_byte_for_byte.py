"""Must show 2: what a sender pushes arrives byte for byte, whatever the client speaks and however it writes."""

import json
import random
from collections.abc import Callable

import pytest

from shared import places
from tests.clients.conversations import Conversation
from tests.clients.kinds import KINDS, connect
from tests.clients.packets import PING, SUB, Packet
from tests.clients.senders import BUFFERED, SENT, RawSender
from tests.fleet.fleet_process import Fleet

PUSHES = 1_000
#: Pushes of one request: together less than a client's out-buffer.
AT_ONCE = 8
#: PROXY protocol v1, as nginx says it.
PREFACE = b"PROXY TCP4 192.0.2.7 192.0.2.1 40000 6789\r\n"

every_kind = pytest.mark.parametrize("kind", KINDS)


def random_bytes(numbers: random.Random) -> Callable[[int], bytes]:
    """Payloads of exactly so many random bytes."""
    return numbers.randbytes


def random_text(numbers: random.Random) -> Callable[[int], bytes]:
    """Payloads of at most so many bytes: random code points of every plane, controls, quotes and backslashes."""
    ranges = [(0x00, 0x80), (0x80, 0x800), (0x800, 0xD800), (0xE000, 0x10000), (0x10000, 0x110000)]
    pool = "".join([chr(numbers.randrange(*numbers.choice(ranges))) for _ in range(1 << 17)])

    def payload(size: int) -> bytes:
        start = numbers.randrange(len(pool) - (1 << 16))
        return pool[start : start + size].encode()[:size].decode(errors="ignore").encode()

    return payload


def payloads(kind: str, most: int, count: int = PUSHES) -> list[bytes]:
    """So many payloads from empty to `most` bytes, both among them."""
    numbers = random.Random(f"byte for byte, {kind}")
    make = random_text(numbers) if kind in ("ws_snake", "ws_camel") else random_bytes(numbers)
    sizes = [0, 1, 2, 125, 126, 127, 65_535, most] + [numbers.randint(0, most) for _ in range(count - 8)]
    return [make(size) for size in sizes]


def push_and_compare(sender: RawSender, client: Conversation, token: str, sent: list[bytes], ack: bool) -> None:
    """Every payload arrives, in order, untouched; every outcome says so."""
    for start in range(0, len(sent), AT_ONCE):
        part = sent[start : start + AT_ONCE]
        request = sender.send_packed([(token, payload) for payload in part])
        for payload in part:
            push = client.read_push()
            assert push.body == payload, f"payload {sent.index(payload)} of {len(payload)} bytes differs"
            assert (push.message_id > 0) == ack
            if ack:
                client.acknowledge(push.message_id)
        outcomes, _ = sender.done(request)
        assert len(outcomes) == len(part)
        assert set(outcomes) <= {SENT, BUFFERED}


@every_kind
def test_a_thousand_pushes(shared_fleet: Fleet, kind: str) -> None:
    token = f"whole-{kind}"
    with RawSender(shared_fleet.endpoint) as sender, connect(kind, shared_fleet.address) as client:
        assert client.subscribe(token) == {"status": 200, "token": token}
        assert client.ping(30) == 30
        push_and_compare(sender, client, token, payloads(kind, client.payload_max), ack=False)
        assert client.ping() == 30


@every_kind
def test_every_byte_written_separately(shared_fleet: Fleet, kind: str) -> None:
    """Through the nginx socket, where the next byte is written only when the worker has read the one before."""
    token = f"bytewise-{kind}"
    address = str(places.nginx_path(shared_fleet.settings, 0))
    with RawSender(shared_fleet.endpoint) as sender, connect(kind, address, preface=PREFACE, bytewise=True) as client:
        assert client.subscribe(token) == {"status": 200, "token": token}
        assert client.ping(30) == 30
        push_and_compare(sender, client, token, payloads(kind, client.payload_max), ack=False)
        assert client.ping() == 30
        assert sender.find(token)["address"] == "192.0.2.7:40000"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "v0"])
def test_every_byte_of_acknowledgements_written_separately(shared_fleet: Fleet, kind: str) -> None:
    token = f"bytewise-acks-{kind}"
    address = str(places.nginx_path(shared_fleet.settings, 0))
    with RawSender(shared_fleet.endpoint) as sender, connect(kind, address, preface=PREFACE, bytewise=True) as client:
        assert client.subscribe(token, ack=True) == {"status": 200, "token": token, "granted": ["ack"]}
        push_and_compare(sender, client, token, payloads(kind, client.payload_max, 100), ack=True)
        assert client.ping(30) == 30


@every_kind
def test_every_byte_written_separately_over_tcp(shared_fleet: Fleet, kind: str) -> None:
    token = f"bytewise-tcp-{kind}"
    with RawSender(shared_fleet.endpoint) as sender, connect(kind, shared_fleet.address, bytewise=True) as client:
        client.subscribe(token)
        assert client.ping(30) == 30
        push_and_compare(sender, client, token, payloads(kind, client.payload_max, 100), ack=False)


@every_kind
def test_a_hundred_packets_in_one_write(shared_fleet: Fleet, kind: str) -> None:
    """SUB and 99 PINGs as one write: the SUB may cost a hand-over, and the PINGs behind it go along."""
    for number in range(4):
        token = f"hundred-{kind}-{number}"
        with RawSender(shared_fleet.endpoint) as sender, connect(kind, shared_fleet.address) as client:
            intervals = [7 + count for count in range(99)]
            packets = [Packet(SUB, b'{"token": "%b"}' % token.encode())]
            packets += [Packet(PING, b'{"interval": %d}' % interval) for interval in intervals]
            client.write(b"".join([client.encode(packet) for packet in packets]))
            answers = [client.read() for _ in packets]
            assert [answer.signal for answer in answers] == [packet.signal for packet in packets]
            assert json.loads(answers[0].body) == {"status": 200, "token": token}
            assert [json.loads(answer.body) for answer in answers[1:]] == [{"interval": said} for said in intervals]
            push_and_compare(sender, client, token, payloads(kind, client.payload_max, 100), ack=False)
