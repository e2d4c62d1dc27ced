from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import bus, bus_rings
from shared.errors import BusError
from shared.origins import Origin
from shared.rings import Epoch

EPOCH = Epoch(1_700_000_000_123, 4)
SEGMENT = bus.Segment(2, bus.REPEATABLE, bytes(range(16)), 4, 0)

epochs = st.builds(Epoch, st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1))
numbers = st.integers(0, 2**64 - 1)
segments = st.builds(
    bus.Segment,
    st.integers(0, 65535),
    st.integers(0, 255),
    st.binary(min_size=16, max_size=16),
    st.integers(0, 10),
    st.integers(0, 127),
)
noise = st.lists(st.binary(max_size=40), max_size=6)


def test_a_batch_spelled_out():
    index = [bus.ENTRY.pack(1, 2, 0), bus.ENTRY.pack(3, 0, 7)]
    frames = bus.encode_batch(EPOCH, 9, [SEGMENT], index, [b"a", b"hi", b"bob", b""])
    assert frames == [
        b"PUSHES1",
        bytes.fromhex("0000018bcfe5687b 00000004 0000000000000009"),
        bytes.fromhex("0002 01 000102030405060708090a0b0c0d0e0f 04 00"),
        bytes.fromhex("0001 00000002 0000  0003 00000000 0007"),
        b"ahibob",
    ]
    batch = bus.decode_batch(frames)
    assert batch == bus.Batch(EPOCH, 9, [SEGMENT], frames[3], b"ahibob")
    assert list(bus.unpack_entries(batch)) == [(1, 2, 0), (3, 0, 7)]


@given(epochs, numbers, st.lists(st.tuples(st.binary(max_size=255), st.binary(max_size=99)), max_size=20))
def test_batches_come_back_as_they_went(epoch, number, pairs):
    segment = SEGMENT._replace(pushes=len(pairs))
    index = [bus.ENTRY.pack(len(token), len(payload), at) for at, (token, payload) in enumerate(pairs)]
    frames = bus.encode_batch(epoch, number, [segment], index, [part for pair in pairs for part in pair])
    batch = bus.decode_batch(frames)
    assert (batch.epoch, batch.number, batch.segments) == (epoch, number, [segment])
    at, decoded = 0, []
    for token_bytes, payload_bytes, _ in bus.unpack_entries(batch):
        middle = at + token_bytes
        decoded.append((batch.data[at:middle], batch.data[middle : middle + payload_bytes]))
        at = middle + payload_bytes
    assert decoded == pairs


def test_an_index_that_does_not_fit_its_segments():
    frames = bus.encode_batch(EPOCH, 9, [SEGMENT], [bus.ENTRY.pack(1, 2, 0)], [b"ahi"])
    with pytest.raises(BusError, match="index of 8 bytes does not fit"):
        bus.decode_batch(frames)


@given(epochs, numbers, segments, st.binary())
def test_fan_outs_come_back_as_they_went(epoch, number, segment, payload):
    fan_out = bus.FanOut(epoch, number, segment, payload)
    assert bus.decode_fan_out(bus.encode_fan_out(*fan_out)) == fan_out


@given(numbers, st.binary())
def test_outcomes_come_back_as_they_went(number, outcomes):
    assert bus.decode_outcomes(bus.encode_outcomes(number, bytearray(outcomes))) == (number, outcomes)


@given(numbers, st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 255))))
def test_late_outcomes_come_back_as_they_went(number, late):
    assert bus.decode_late(bus.encode_late(number, late)) == (number, late)


def test_control_messages():
    frames = bus.encode_control(bus.READY1, {"worker": "主机/0", "pid": 7})
    assert frames[0] == b"READY1"
    assert bus.decode_control(frames) == {"worker": "主机/0", "pid": 7}


def test_numbered_messages():
    frames = bus.encode_numbered(bus.CALL1, 2**63, {"call": "find", "tokens": ["a"]})
    assert frames[:2] == [b"CALL1", bytes.fromhex("8000000000000000")]
    assert bus.decode_numbered(frames) == (2**63, {"call": "find", "tokens": ["a"]})


def test_rings_and_the_fields_that_a_later_version_adds():
    news = bus_rings.RingNews(EPOCH, {"h/0": "/run/0.sock"}, {"h/1": "/run/1.sock"})
    frames = bus_rings.encode_ring(news)
    assert bus_rings.decode_ring(frames) == news
    behind = news._replace(follows=EPOCH)
    assert bus_rings.decode_ring(bus_rings.encode_ring(behind)) == behind
    later = bus.encode_control(bus.RING1, {**bus.decode_control(frames), "new": [1]})
    assert bus_rings.decode_ring(later) == news


DECODERS = [
    bus.decode_batch,
    bus.decode_fan_out,
    bus.decode_outcomes,
    bus.decode_late,
    bus.decode_control,
    bus.decode_numbered,
    bus_rings.decode_ring,
]


@pytest.mark.parametrize("decode", DECODERS, ids=lambda decode: decode.__name__)
@given(frames=noise)
def test_noise_raises_nothing_but_bus_errors(decode, frames):
    with suppress(BusError):
        decode(frames)


@pytest.mark.parametrize("decode", [bus.decode_control, bus_rings.decode_ring], ids=lambda decode: decode.__name__)
@pytest.mark.parametrize("body", [b"[]", b"7", b"null", b"{", b"", b"[" * 100_000, b'"\xff"'])
def test_control_bodies_that_are_no_objects(decode, body):
    with pytest.raises(BusError):
        decode([b"RING1", body])


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"epoch":[1],"live":{},"leaving":{}}',
        b'{"epoch":[1,2],"live":3,"leaving":{}}',
        b'{"epoch":[1,"x"],"live":{},"leaving":{}}',
        b'{"epoch":[1,2],"live":{},"leaving":{},"follows":[1]}',
        b'{"epoch":[1,2],"live":{},"leaving":{},"follows":[1,1e400]}',
    ],
)
def test_malformed_rings(body):
    with pytest.raises(BusError, match="malformed RING1"):
        bus_rings.decode_ring([b"RING1", body])


TERMS = [bus.Terms(60, False, "grüße", 700, "news", 12), bus.Terms(0, True, None, 5000, "")]


def flagged(*flags):
    return [bus.Segment(1, each, bytes(16), 4, 0) for each in flags]


def test_terms_survive():
    segments = flagged(bus.OPTIONS, 0, bus.OPTIONS | bus.REPEATABLE)
    index, data = [bus.ENTRY.pack(1, 1, 0)] * 3, [b"ab"] * 3
    batch = bus.decode_batch(bus.encode_batch(Epoch(1, 2), 3, segments, index, data, TERMS))
    assert batch.terms == TERMS


@pytest.mark.parametrize(
    "frame", [b"", b"{", b"7", b"[]", b"[1,2]", b"[{},{}]", b'[{"ttl":"x","acked":1,"timeout_ms":1}]', b"[{}]"]
)
def test_terms_that_are_none_are_named(frame):
    frames = bus.encode_batch(Epoch(1, 2), 3, flagged(bus.OPTIONS), [bus.ENTRY.pack(1, 1, 0)], [b"ab"])
    with pytest.raises(BusError, match="PUSHES1"):
        bus.decode_batch([*frames, frame])
    with pytest.raises(BusError, match="PUSHES1"):
        bus.decode_batch(frames)


TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ORIGINS = [Origin("web/7", TRACEPARENT), Origin("", TRACEPARENT), Origin("web/8")]


@pytest.mark.parametrize("flags", [0, bus.OPTIONS])
def test_origins_survive_with_and_without_terms(flags):
    segments = flagged(bus.ORIGIN | flags, flags, bus.ORIGIN, bus.ORIGIN | bus.REPEATABLE)
    terms = TERMS if flags else ()
    index, data = [bus.ENTRY.pack(1, 1, 0)] * 4, [b"ab"] * 4
    batch = bus.decode_batch(bus.encode_batch(Epoch(1, 2), 3, segments, index, data, terms, ORIGINS))
    assert (list(batch.terms), batch.origins) == (list(terms), ORIGINS)


@pytest.mark.parametrize(
    "frame",
    [b"", b"{", b"7", b"[]", b"[1]", b'[["a","b","c"]]', b'[["a b"]]', b'[["a\\n"]]', b'[["a","00-1-2-3"]]', b"[[7]]"],
)
def test_origins_that_are_none_are_named(frame):
    frames = bus.encode_batch(Epoch(1, 2), 3, flagged(bus.ORIGIN), [bus.ENTRY.pack(1, 1, 0)], [b"ab"])
    with pytest.raises(BusError, match="origins"):
        bus.decode_batch([*frames, b"", frame])
    fan_out = bus.encode_fan_out(Epoch(1, 2), 3, SEGMENT, b"all")
    with pytest.raises(BusError):
        bus.decode_fan_out([*fan_out, b"", frame])


@pytest.mark.parametrize("target", [None, bus.Target("group", "news")])
def test_the_origin_of_a_fan_out_survives_and_can_be_left_out(target):
    frames = bus.encode_fan_out(EPOCH, 7, SEGMENT, b"all", target, ORIGINS[0])
    assert bus.decode_fan_out(frames) == bus.FanOut(EPOCH, 7, SEGMENT, b"all", target, ORIGINS[0])
    assert bus.is_targeted(frames) == (target is not None)
    assert bus.without_origin(frames) == bus.encode_fan_out(EPOCH, 7, SEGMENT, b"all", target)


def test_the_times_of_a_delivery():
    frames = bus.encode_outcomes(9, b"\0\1", (1_700_000_000_000_000, 1_700_000_000_000_250))
    assert bus.decode_outcomes(frames) == (9, b"\0\1")
    assert bus.decode_when(frames) == (1_700_000_000_000_000, 1_700_000_000_000_250)
    assert bus.decode_when(bus.encode_outcomes(9, b"")) is None
    with pytest.raises(BusError, match="times"):
        bus.decode_when([*frames[:3], b"12"])
