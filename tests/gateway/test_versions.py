"""Records and messages between this version and the one before it, which knew of one router and of no ledger.

The bytes below were written by that version. Beside them stands its reader's rule: what it does not know it passes
over, and keeps in a record.
"""

import json

import msgpack
import pytest

from gateway.connections import Connection, Granted, Login, Pending, Protocol, State, decode_record, encode_record
from gateway.hand_over_messages import Give, Hello, Moved, Taken, decode, encode
from shared import bus, bus_rings
from shared.rings import Epoch
from tests.gateway.parts import ring, until
from tests.router.driven_core import DrivenCore

EPOCH = Epoch(1_795_572_318_224, 2)

UNKNOWN_CLIENT = (
    "84a776657273696f6e01a761646472657373ae3139322e302e322e313a34303030a870726f746f636f6c06a972656d61696e696e6701"
)
BINDING_CLIENT = (
    "88a776657273696f6e01a761646472657373ae3139322e302e322e313a34303030a870726f746f636f6c02a573746174"
    "6501a76772616e746564cc80a762696e64696e6709a972656d61696e696e6708a770656e64696e6793c403626f6207c3"
)
BOUND_CLIENT = (
    "de0015a46d6f6f64a4676f6f64a776657273696f6e01a761646472657373ae3139322e302e322e313a34303030a87072"
    "6f746f636f6c03a5737461746502a76772616e746564cc83a5746f6b656ec405616c696365a3756964a5616c696365a7"
    "62696e64696e67cf0000019b0000c350a770726f7869656401ab77696e646f775f626974730ca4626561741eaf6c6173"
    "745f6d6573736167655f696405ac66616e5f6f75745f7365656ecf1a21073401000007a972656d61696e696e671ea56c"
    "6f67696e93a5616c69636591c405616c696365ce77359400a5696e707574c40181a66f7574707574c40472657374a770"
    "61727469616c84a66f70636f646501aa636f6d70726573736564c2a464617461c40468616c66a9757466385f7461696c"
    "c401e4ae756e61636b6e6f776c6564676564920305a6726563656e749193c40269640002"
)
FAN_OUT = 0x1A21073401000007

HELLO = "93a568656c6c6f01a3682f30"
GIVE = "95a467697665010792cf000001a2107340100292c4067265636f7264c0"
TAKEN = "94a574616b656e01079101"
MOVED = "94a56d6f76656401a3682f3192cf000001a21073401002"

RING1 = b'{"epoch":[1795572318224,2],"live":{"h\\/0":"\\/r\\/0.sock"},"leaving":{"h\\/1":"\\/r\\/1.sock"}}'
READY1 = (
    b'{"worker":"h\\/0","incarnation":"1f1f","pid":5,"hand_over":"\\/r\\/0.sock","leaving":false,'
    b'"version":"0.0.9","fan_out":0}'
)
BEAT1 = b'{"connections":{"v2":3},"counters":{"accepted":5},"epoch":[1700000000000,1]}'


# --- records


def test_a_record_of_a_client_that_has_said_nothing():
    read = decode_record(bytes.fromhex(UNKNOWN_CLIENT), 5, 1000)
    assert (read.address, read.protocol, read.state, read.deadline) == ("192.0.2.1:4000", 6, State.OPEN, 1001)
    assert (read.bound_by, read.fan_out_seen, read.extra) == ("", (), None)


def test_a_record_of_a_client_that_awaits_its_binding():
    read = decode_record(bytes.fromhex(BINDING_CLIENT), 5, 1000)
    assert (read.state, read.pending, read.granted) == (State.BINDING, Pending(b"bob", 7, True), Granted.HEARD)
    assert (read.binding, read.bound_by, read.deadline) == (9, "", 1008)


def test_a_record_with_everything_in_it():
    read = decode_record(bytes.fromhex(BOUND_CLIENT), 5, 1000)
    assert (read.protocol, read.state, read.token, read.uid) == (Protocol.WS_TEXT, State.BOUND, b"alice", "alice")
    assert (read.binding, read.bound_by) == (0x19B_0000_C350, "")
    assert (read.fan_out_seen, read.last_message_id, read.unacknowledged) == ((FAN_OUT,), 5, {3, 5})
    assert (read.input, read.output, read.recent) == (b"\x81", b"rest", {b"id": (0, 998)})
    assert (read.partial.data, read.partial.utf8_tail) == (b"half", b"\xe4")
    assert read.login == Login("alice", [b"alice"], 2_000_000_000)
    assert (read.beat, read.window_bits, read.proxied, read.deadline) == (30, 12, 1, 1030)
    assert read.extra == {"mood": "good"}


#: Fields of a record as the version before knew them, and what it required of them.
THEN_PLAIN = {
    "address": str,
    "protocol": int,
    "state": int,
    "granted": int,
    "token": bytes,
    "uid": str,
    "binding": int,
    "proxied": int,
    "window_bits": int,
    "beat": int,
    "last_message_id": int,
    "fan_out_seen": int,
}
THEN_OTHER = {"version", "login", "input", "output", "partial", "pending", "unacknowledged", "recent", "remaining"}


def read_then(record):
    """(fields, those that are kept as unknown), as the version before read a record."""
    fields = msgpack.unpackb(record)
    for name, kind in THEN_PLAIN.items():
        assert type(fields.get(name, kind())) is kind, name
    Protocol(fields["protocol"]), State(fields.get("state", 0))
    known = THEN_PLAIN.keys() | THEN_OTHER
    return fields, {name: value for name, value in fields.items() if name not in known}


def of_today(**fields):
    made = decode_record(bytes.fromhex(BOUND_CLIENT), 5, 1000)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def test_a_record_of_today_is_read_by_the_version_before():
    fields, unknown = read_then(encode_record(of_today(bound_by="h/1", fan_out_seen=(FAN_OUT, 9)), 1000))
    assert msgpack.unpackb(bytes.fromhex(BOUND_CLIENT)).items() <= fields.items()
    assert unknown == {"mood": "good", "bound_by": "h/1", "fan_outs_seen": [9]}


def test_a_record_that_went_through_the_version_before_comes_back_whole():
    """It keeps what it does not know, and writes that again."""
    before = of_today(bound_by="h/1", fan_out_seen=(FAN_OUT, 9))
    fields, unknown = read_then(encode_record(before, 1000))
    again = {**unknown, **{name: fields[name] for name in fields if name not in unknown}}
    after = decode_record(msgpack.packb(again), 5, 1000)
    for name in Connection.__slots__:
        if name not in ("partial", "scheduled"):
            assert getattr(after, name) == getattr(before, name), name


def test_a_client_that_has_seen_no_push_to_all():
    """0 was written as nothing, and nothing is none today."""
    fields, _ = read_then(encode_record(of_today(fan_out_seen=()), 1000))
    assert "fan_out_seen" not in fields


# --- messages between workers


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (HELLO, Hello("h/0")),
        (GIVE, Give(7, EPOCH, [b"record", None])),
        (TAKEN, Taken(7, [1])),
        (MOVED, Moved("h/1", EPOCH)),
    ],
    ids=["hello", "give", "taken", "moved"],
)
def test_messages_of_the_version_before(data, message):
    assert decode(bytes.fromhex(data)) == message


@pytest.mark.parametrize(
    ("message", "data"),
    [
        (Hello("h/0"), HELLO),
        (Give(7, EPOCH, [b"record", None], [5, 6]), GIVE),
        (Taken(7, [1]), TAKEN),
        (Moved("h/1", EPOCH), MOVED),
    ],
    ids=["hello", "give", "taken", "moved"],
)
def test_messages_of_today_begin_as_those_did(message, data):
    """That version took the elements that it knew, in order, and passed over the rest."""
    then = msgpack.unpackb(bytes.fromhex(data))
    assert msgpack.unpackb(encode(message))[: len(then)] == then


# --- messages with routers


def test_a_ring_of_the_version_before():
    assert bus_rings.decode_ring([bus.RING1, RING1]) == bus_rings.RingNews(
        EPOCH, {"h/0": "/r/0.sock"}, {"h/1": "/r/1.sock"}
    )


def test_a_ring_of_today_says_what_that_one_said():
    _, body = bus_rings.encode_ring(bus_rings.decode_ring([bus.RING1, RING1]))
    assert json.loads(RING1).items() <= json.loads(body).items()


def test_a_batch_of_the_version_before():
    frames = [
        b"PUSHES1",
        bytes.fromhex("000000000000000100000002" + "0000000000000003"),
        bytes.fromhex("0001" + "00" * 17 + "0400"),
        bytes.fromhex("0001" + "00000002" + "0000"),
        b"abc",
    ]
    batch = bus.decode_batch(frames)
    assert (batch.epoch, batch.number, batch.data) == (Epoch(1, 2), 3, b"abc")
    made = bus.encode_batch(Epoch(1, 2), 3, [bus.Segment(1, 0, bytes(16), 4, 0)], [bus.ENTRY.pack(1, 2, 0)], [b"abc"])
    assert made == frames


def test_a_router_takes_a_worker_of_the_version_before():
    """It says neither when it began nor which ring, routers and claims it has, and is told rings and pushes."""
    core = DrivenCore(workers=1)
    core.say("h/0", [bus.READY1, READY1])
    core.say("h/0", [bus.BEAT1, BEAT1])
    (told,) = [frames for name, frames in core.to_workers if frames[0] == bus.RING1]
    assert bus_rings.decode_ring(told).live == {"h/0": "/r/0.sock"}
    core.hello(b"s")
    core.push(b"1", b"alice")
    assert [frames for _, frames in core.to_workers if frames[0] == bus.PUSHES1]


def test_a_worker_says_to_a_router_of_the_version_before_what_that_one_reads(worker):
    """All that READY1 and BEAT1 said is there, of the same kinds; what is more, that router passes over."""
    parts = worker()
    parts.ring(1, [parts])
    parts.handlers.say_ready(0)
    parts.handlers.say_beat()
    for kind, then in ((bus.READY1, READY1), (bus.BEAT1, BEAT1)):
        now = parts.heard(kind)[-1]
        for name, value in json.loads(then).items():
            assert type(now[name]) is type(value), name


def test_a_router_of_the_version_before_says_no_alive(worker):
    """Its RING1 is followed and its pushes are answered; STALE, which it does not know, is not said to it."""
    parts, other = worker(), worker("h/1")
    parts.routers._positions = [None]
    parts.routers._last = [None]
    parts.hear(ring(1, [parts]))
    _, connection = parts.bound(b"alice")
    assert parts.push((b"alice", b"x")) == [0]
    assert connection.state == State.BOUND
    parts.hear(ring(2, [other], [parts]))
    until(lambda: not parts.loop.table.count)
    assert bus.STALE not in parts.push((b"alice", b"x"))
    other.ring(2, [other], [parts])
