import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.client_loop import READ_BYTES
from gateway.connections import Granted, Protocol, State
from gateway.deliveries import RECENT_MAX, RECENT_TICKS
from shared import bus
from shared.outcomes import Outcome
from shared.packets import Packet
from shared.reasons import CloseReason
from shared.signals import Signal, SubSignal
from tests.gateway.parts import turns, until

SENT, OFFLINE, OVERLOADED, TOO_LARGE, REFUSED, BUFFERED = (
    Outcome.SENT,
    Outcome.OFFLINE,
    Outcome.OVERLOADED,
    Outcome.TOO_LARGE,
    Outcome.REFUSED,
    Outcome.BUFFERED,
)
PREFIX = bytes(range(16))
ALL = [Protocol.V0, Protocol.V1, Protocol.V2, Protocol.WS_TEXT, Protocol.WS_BINARY]


@pytest.fixture
def one(worker):
    parts = worker()
    parts.ring(1, [parts])
    return parts


def bind(parts, token, protocol=Protocol.V2, granted=0, **fields):
    """(client's end, record) of a client that is bound, without having said so."""
    end, connection = parts.connect(**fields)
    connection.protocol, connection.granted = protocol, Granted.HEARD | granted
    parts.loop.table.bind(connection, token)
    return end, connection


def read(end, protocol):
    """Payload of the next push."""
    if protocol <= Protocol.V2:
        return end.packet(protocol).body
    _, payload = end.frame()
    return json.loads(payload)["content"].encode() if protocol == Protocol.WS_TEXT else payload[10:]


def repeatable(parts, *pushes, prefix=PREFIX, first=0):
    return parts.push(*pushes, flags=bus.REPEATABLE, prefix=prefix, first=first)


@pytest.mark.parametrize("protocol", ALL)
@pytest.mark.parametrize("payload", [b"", b"hello", "grüß 📣 \u2028 \"'\\/<>\x00".encode(), b"x" * 65_535])
def test_a_payload_arrives_byte_for_byte(one, protocol, payload):
    end, _ = bind(one, b"alice", protocol)
    assert one.push((b"alice", payload))[0] in (SENT, BUFFERED)
    assert read(end, protocol) == payload


def test_an_outcome_for_each_push_in_order(one):
    bind(one, b"alice")
    bind(one, b"text", Protocol.WS_TEXT)
    bind(one, b"old", Protocol.V1)
    pushes = [
        (b"alice", b"1", SENT),
        (b"nobody", b"2", OFFLINE),
        (b"", b"3", REFUSED),
        (b"x" * 256, b"4", REFUSED),
        (b"\xff", b"5", REFUSED),
        (b"a\nb", b"6", REFUSED),
        (b"text", b"\xff", REFUSED),
        (b"old", bytes(65_536), TOO_LARGE),
        (b"alice", bytes((1 << 20) + 1), TOO_LARGE),
        (b"text", b"7" * ((1 << 20) + 1), TOO_LARGE),
        (b"alice", b"8", SENT),
        (b"text", b"9", SENT),
    ]
    assert one.push(*[push[:2] for push in pushes]) == [outcome for _, _, outcome in pushes]
    assert one.counters["pushes_sent"] == 3
    assert one.counters["pushes_refused"] == 5
    assert one.counters["pushes_too_large"] == 3
    assert one.counters["pushes_offline"] == 1
    assert one.counters["batches"] == 1


def test_a_batch_of_many_segments(one):
    end, _ = bind(one, b"alice", granted=Granted.IDS)
    segments = [bus.Segment(2, 0, bytes([number]) * 16, 4, 0) for number in range(3)]
    index = [bus.ENTRY.pack(5, 1, position) for position in (7, 8) * 3]
    data = [b"alice%d" % number for number in range(6)]
    one.hear(bus.encode_batch((1, 1), 9, segments, index, data))
    assert one.said[-1] == bus.encode_outcomes(9, bytes(6))
    bodies = [end.packet().body for _ in range(6)]
    ids = [bytes([number]) * 16 for number in (0, 0, 1, 1, 2, 2)]
    for place, (body, prefix) in enumerate(zip(bodies, ids, strict=True)):
        shown = f"{prefix.hex()}-{7 + place % 2}".encode()
        assert body == bytes([len(shown)]) + shown + b"%d" % place


def test_an_empty_batch(one):
    one.hear(bus.encode_batch((1, 1), 9, [], [], []))
    assert one.said[-1] == bus.encode_outcomes(9, b"")


@pytest.mark.parametrize("flags", [0, bus.REPEATABLE])
def test_another_signal_than_push(one, flags):
    end, _ = bind(one, b"alice", granted=Granted.ACK)
    old, _ = bind(one, b"old", Protocol.V0)
    text, _ = bind(one, b"text", Protocol.WS_TEXT)
    pushes = [(b"alice", b"x"), (b"old", b"x"), (b"text", b"x")]
    outcomes = one.push(*pushes, signal=Signal.PUBLISH, sub_signal=SubSignal.MN, flags=flags)
    assert outcomes == [SENT, REFUSED, SENT]
    assert end.packet() == Packet(Signal.PUBLISH, SubSignal.MN, 0, b"x")
    assert json.loads(text.frame()[1])["sub_signal"] == "MN"
    assert old.quiet()


@pytest.mark.parametrize("protocol", ALL)
@pytest.mark.parametrize("options", [0, Granted.IDS, Granted.DEFLATE, Granted.BASE64, Granted.IDS | Granted.DEFLATE])
def test_options_of_every_kind_do_not_disturb_each_other(one, protocol, options):
    end, _ = bind(one, b"alice", protocol, options)
    payload = b"hello " * 100
    assert one.push((b"alice", payload)) == [SENT]
    until(end.pull)
    data = bytes(end.received)
    compressed = options & Granted.DEFLATE and protocol != Protocol.WS_TEXT
    assert (payload in data) != bool(compressed or (options & Granted.BASE64 and protocol == Protocol.WS_TEXT))


# --- acknowledgements


def test_message_ids_up_to_the_window(one):
    end, connection = bind(one, b"alice", granted=Granted.ACK)
    outcomes = one.push(*[(b"alice", b"%d" % number) for number in range(70)])
    assert outcomes == [SENT] * 64 + [OVERLOADED] * 6
    assert [end.packet().message_id for _ in range(64)] == list(range(1, 65))
    end.say(Signal.PUB_ACK, message_id=3)
    until(lambda: 3 not in connection.unacknowledged)
    assert one.push((b"alice", b"x"), (b"alice", b"x")) == [SENT, OVERLOADED]
    assert end.packet().message_id == 65


def test_message_ids_wrap_and_pass_over_those_in_use(one):
    end, connection = bind(one, b"alice", granted=Granted.ACK)
    connection.last_message_id, connection.unacknowledged = 65_533, {65_535, 1, 2}
    one.push(*[(b"alice", b"x")] * 3)
    assert [end.packet().message_id for _ in range(3)] == [65_534, 3, 4]


def test_who_did_not_ask_gets_no_message_id(one):
    end, connection = bind(one, b"alice")
    one.push(*[(b"alice", b"x")] * 100)
    assert {end.packet().message_id for _ in range(100)} == {0}
    assert connection.unacknowledged is None


def test_a_message_id_is_not_used_up_by_a_push_that_did_not_go(one):
    end, connection = bind(one, b"alice", Protocol.V1, Granted.ACK)
    assert one.push((b"alice", bytes(65_536)), (b"alice", b"x")) == [TOO_LARGE, SENT]
    assert end.packet(1).message_id == 1
    assert connection.unacknowledged == {1}


# --- repeats


@pytest.mark.parametrize("protocol", ALL)
def test_a_copy_is_dropped_and_answered_with_the_first_outcome(one, protocol):
    end, _ = bind(one, b"alice", protocol)
    assert repeatable(one, (b"alice", b"1"), (b"alice", b"2")) == [SENT, SENT]
    assert repeatable(one, (b"alice", b"1"), (b"alice", b"2"), (b"alice", b"3")) == [SENT] * 3
    assert repeatable(one, (b"alice", b"4"), prefix=bytes(16)) == [SENT]
    assert [read(end, protocol) for _ in range(4)] == [b"1", b"2", b"3", b"4"]
    assert end.quiet()
    assert one.counters["copies_dropped"] == 2


def test_a_copy_for_another_token_is_no_copy(one):
    first, _ = bind(one, b"alice")
    second, _ = bind(one, b"bob")
    assert repeatable(one, (b"alice", b"1")) == repeatable(one, (b"bob", b"1")) == [SENT]
    assert first.packet().body == second.packet().body == b"1"


def test_without_an_id_nothing_is_remembered(one):
    end, connection = bind(one, b"alice")
    one.push((b"alice", b"1"))
    one.push((b"alice", b"1"))
    assert [end.packet().body for _ in range(2)] == [b"1", b"1"]
    assert connection.recent is None


def test_a_buffered_one_was_delivered_too(one):
    end, _ = bind(one, b"alice", buffer=1)
    assert repeatable(one, (b"alice", bytes(500_000))) == [BUFFERED]
    assert repeatable(one, (b"alice", bytes(500_000))) == [BUFFERED]
    assert len(end.packet().body) == 500_000
    assert end.quiet()


def test_what_was_not_delivered_is_tried_again(one):
    end, connection = bind(one, b"alice", granted=Granted.ACK)
    connection.unacknowledged = set(range(100, 164))
    assert repeatable(one, (b"alice", b"1")) == [OVERLOADED]
    connection.unacknowledged.pop()
    assert repeatable(one, (b"alice", b"1")) == [SENT]
    assert end.packet().body == b"1"


def test_so_many_are_remembered(one):
    end, connection = bind(one, b"alice")
    repeatable(one, *[(b"alice", b"x")] * (RECENT_MAX + 1))
    assert len(connection.recent) == RECENT_MAX
    assert repeatable(one, (b"alice", b"x"), first=1) == [SENT]
    assert one.counters["copies_dropped"] == 1
    assert repeatable(one, (b"alice", b"x"), first=0) == [SENT]  # pushed out by the last
    for _ in range(RECENT_MAX + 2):
        end.packet()
    assert end.quiet()


def test_so_long_they_are_remembered(one):
    _, connection = bind(one, b"alice")
    repeatable(one, (b"alice", b"1"))
    one.advance(10)
    repeatable(one, (b"alice", b"2"), first=1)
    one.advance(RECENT_TICKS - 11)
    assert len(connection.recent) == 2
    one.advance()
    assert len(connection.recent) == 1
    one.advance(9)
    assert len(connection.recent) == 1
    one.advance()
    assert connection.recent is None
    assert one.deliveries._remembering == {}
    assert repeatable(one, (b"alice", b"1")) == [SENT]


def test_nothing_is_kept_of_clients_that_have_gone(one):
    for number in range(50):
        end, connection = bind(one, b"t%d" % number)
        repeatable(one, (b"t%d" % number, b"1"))
        end.close()
        until(lambda connection=connection: connection.fd < 0)
    one.advance(RECENT_TICKS + 1)
    assert one.deliveries._remembering == {}


# --- clients in trouble


def test_one_slow_client_among_others(worker):
    one = worker(out_buffer_bytes=4096, slow_consumer_s=2)
    one.ring(1, [one])
    _, slow = bind(one, b"slow", buffer=1)
    end, _ = bind(one, b"alice")
    outcomes = one.push(*[(token, bytes(1000)) for _ in range(50) for token in (b"slow", b"alice")])
    assert outcomes[1::2] == [SENT] * 50
    assert outcomes[0] == SENT
    assert set(outcomes[::2]) == {SENT, BUFFERED, OVERLOADED}
    assert outcomes[::2] == sorted(outcomes[::2], key=[SENT, BUFFERED, OVERLOADED].index)
    for _ in range(50):
        assert len(end.packet().body) == 1000
    one.advance(2)
    assert slow.fd < 0
    assert one.counters["close_slow_consumer"] == 1
    assert one.push((b"slow", b"x")) == [OFFLINE]


def test_one_that_is_lost_in_the_middle_of_a_batch(one):
    end, _ = bind(one, b"alice")
    other, _ = bind(one, b"bob")
    end.close()
    assert one.push((b"bob", b"1"), (b"alice", b"2"), (b"alice", b"3"), (b"bob", b"4")) == [
        SENT,
        OFFLINE,
        OFFLINE,
        SENT,
    ]
    assert [other.packet().body for _ in range(2)] == [b"1", b"4"]
    assert one.counters["close_io_error"] == 1


def test_one_that_is_closing_is_offline(one):
    end, connection = bind(one, b"alice")
    one.loop.close(connection, CloseReason.KICKED, b"bye")
    assert connection.state == State.CLOSING
    assert one.push((b"alice", b"x")) == [OFFLINE]
    assert end.rest() == b"bye"


def test_pushes_behind_a_full_socket_keep_their_order(one):
    end, connection = bind(one, b"alice", buffer=1)
    sizes = [1, 3 * READ_BYTES, 10, 0, 70_000, 5]
    one.push(*[(b"alice", bytes(size)) for size in sizes])
    assert connection.output
    assert [len(end.packet().body) for _ in sizes] == sizes


# --- anything

clients_of_all_kinds = list(zip((b"v0", b"v1", b"v2", b"text", b"binary"), ALL, strict=True))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.sampled_from([b"v0", b"v1", b"v2", b"text", b"binary", b"nobody"]), st.binary(max_size=300)),
        max_size=30,
    ),
    st.sampled_from([0, bus.REPEATABLE]),
    st.binary(min_size=16, max_size=16),
)
def test_any_batch_arrives_in_order(one, pushes, flags, prefix):
    ends = {token: bind(one, token, protocol)[0] for token, protocol in clients_of_all_kinds}
    outcomes = one.push(*pushes, flags=flags, prefix=prefix)
    turns(1)
    expected = {token: [] for token in ends}
    for (token, payload), outcome in zip(pushes, outcomes, strict=True):
        if token == b"nobody":
            assert outcome == OFFLINE
        elif token == b"text" and not is_text(payload):
            assert outcome == REFUSED
        else:
            assert outcome == SENT
            expected[token].append(payload)
    for token, protocol in clients_of_all_kinds:
        assert [read(ends[token], protocol) for _ in expected[token]] == expected[token]
        assert one.loop.table.by_token[token].output is None
        one.loop.destroy(one.loop.table.by_token[token], CloseReason.KICKED)


def is_text(payload):
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True
