import json

import pytest

from gateway import sends
from gateway.client_loop import ClientLoop
from gateway.connections import Granted, Protocol, State
from shared import bus
from shared.packets import Packet
from shared.reasons import CloseReason
from shared.signals import Signal
from tests.gateway.parts import turns
from tests.gateway.test_deliveries import ALL, bind, read

PREFIX = bytes(range(16))
NONE = dict.fromkeys(
    ["matched", "sent", "buffered", "overloaded", "refused", "too_large", "acked", "stored", "offline"], 0
)


@pytest.fixture(params=["as installed", "in Python"])
def one(request, worker, monkeypatch):
    if request.param == "in Python":
        monkeypatch.setattr(ClientLoop, "send_bytes", staticmethod(sends.send_in_python))
        monkeypatch.setattr(ClientLoop, "send_each", staticmethod(sends.send_each_in_python))
    parts = worker(routers=3)
    parts.ring(1, [parts])
    return parts


def crowd(parts, number):
    return [bind(parts, b"t%d" % at)[0] for at in range(number)]


@pytest.mark.parametrize("payload", [b"", b"hello", "grüß".encode(), b"x" * 50_000])
def test_everybody_who_is_bound_gets_it(one, payload):
    ends = [(bind(one, b"%d" % protocol, protocol)[0], protocol) for protocol in ALL]
    unbound, _ = one.connect()
    one.fan_out(1, payload)
    assert one.counted(1) == NONE | {"matched": 5, "sent": 5}
    for end, protocol in ends:
        assert read(end, protocol) == payload
    assert unbound.quiet()
    assert one.counters["fan_outs"] == 1


def test_with_nobody_there(one):
    one.fan_out(1, b"x")
    assert one.counted(1) == NONE


def test_clients_with_options_get_their_own_copy(one):
    options = [Granted.IDS, Granted.ACK, Granted.IDS | Granted.ACK, Granted.DEFLATE, Granted.BASE64]
    ends = [bind(one, b"t%d" % number, Protocol.V2, granted)[0] for number, granted in enumerate(options)]
    text, _ = bind(one, b"text", Protocol.WS_TEXT, Granted.CAMEL | Granted.IDS | Granted.BASE64)
    one.fan_out(1, b"x" * 300, prefix=PREFIX)
    assert one.counted(1) == NONE | {"matched": 6, "sent": 6}
    shown = f"{PREFIX.hex()}-0".encode()
    packets = [end.packet() for end in ends]
    assert [packet.message_id for packet in packets] == [0, 1, 1, 0, 0]
    assert packets[0].body == packets[2].body == bytes([len(shown)]) + shown + b"x" * 300
    assert packets[3].compressed
    message = json.loads(text.frame()[1])
    assert (message["pushId"], message["content"]) == (shown.decode(), "eHh4" * 100)


def test_what_becomes_of_it_is_counted(worker):
    one = worker(out_buffer_bytes=4096)
    one.ring(1, [one])
    bind(one, b"text", Protocol.WS_TEXT)
    bind(one, b"old", Protocol.V1)
    _, slow = bind(one, b"slow", buffer=1)
    while slow.output is None or len(slow.output) < 4000:
        one.loop.write(slow, bytes(100))
    bind(one, b"gone")[0].close()
    bind(one, b"well")
    one.fan_out(1, b"\xff" * 1000)
    assert one.counted(1) == NONE | {"matched": 5, "sent": 2, "refused": 1, "overloaded": 1, "offline": 1}
    one.fan_out(2, b"x" * 70_000)
    assert one.counted(2)["too_large"] == 1
    one.fan_out(3, bytes((1 << 20) + 1))
    assert one.counted(3) == NONE | {"matched": 4, "too_large": 4}


def test_those_who_do_not_take_it_at_once_are_seen_to_behind_the_others(one):
    """Each gets it whole, in whatever order they are and whatever they speak."""
    payload, ends = b"x" * 100_000, []
    for number in range(20):
        protocol, narrow = (Protocol.V2, Protocol.WS_TEXT)[number % 2], number % 5 == 0
        ends.append((bind(one, b"%d" % number, protocol, buffer=int(narrow))[0], protocol))
        bind(one, b"gone%d" % number, protocol)[0].close()
    one.fan_out(1, payload)
    assert one.counted(1) == NONE | {"matched": 40, "sent": 16, "buffered": 4, "offline": 20}
    assert [read(end, protocol) for end, protocol in ends] == [payload] * 20
    assert all(end.quiet() for end, _ in ends)
    assert list(one.loop.ledger.words) == [-1, -1]


def test_one_that_is_closed_for_another_is_not_written_to(one, monkeypatch):
    """Its descriptor may be another's by then."""
    gone, closed = bind(one, b"gone")
    end, special = bind(one, b"special", granted=Granted.ACK)
    gone.close()

    def ended(connection):
        if connection is closed:
            one.loop.destroy(special, CloseReason.KICKED)

    monkeypatch.setattr(one.conversations, "ended", ended)
    one.fan_out(1, b"x")
    assert one.counted(1) == NONE | {"matched": 1, "offline": 1}
    assert special.state == State.CLOSING
    assert end.rest() == b""


def test_a_signal_that_version_0_does_not_know(one):
    bind(one, b"old", Protocol.V0)
    end, _ = bind(one, b"new")
    one.hear(bus.encode_fan_out((1, 1), 1, bus.Segment(1, 0, bytes(16), Signal.PUBLISH, 17), b"x"))
    assert one.counted(1) == NONE | {"matched": 2, "sent": 1, "refused": 1}
    assert end.packet() == Packet(Signal.PUBLISH, 17, 0, b"x")


def test_a_large_one_lets_others_have_their_turn(one):
    crowd(one, 1200)
    other, _ = one.connect()
    other.say(Signal.PING)
    one.fan_out(1, b"x")
    assert other.packet().signal == Signal.PING
    assert one.counts(1) is None
    assert one.counted(1)["sent"] == 1200


def test_several_at_once_arrive_in_order(one):
    ends = crowd(one, 1100)
    for number in range(1, 6):
        one.fan_out(number, b"%d" % number)
    assert one.counted(5)
    for end in (ends[0], ends[700], ends[-1]):
        assert [end.packet().body for _ in range(5)] == [b"1", b"2", b"3", b"4", b"5"]
        assert end.quiet()
    assert [one.counts(number)["sent"] for number in range(1, 6)] == [1100] * 5


def test_who_comes_while_it_runs_does_not_get_it(one):
    crowd(one, 1100)
    one.fan_out(1, b"all")
    end, connection = one.bound(b"late")
    assert connection.fan_out_seen == (1,)
    assert one.counted(1)
    assert one.counts(1)["sent"] == 1100
    assert end.quiet()
    one.fan_out(2, b"next")
    assert one.counted(2)
    assert end.packet().body == b"next"


def test_who_goes_while_it_runs(one):
    ends = crowd(one, 1100)
    one.fan_out(1, b"all")
    for end in ends[550:]:
        end.close()
    assert one.counted(1)
    counts = one.counts(1)
    assert counts["sent"] >= 500
    assert counts["matched"] == counts["sent"] + counts["offline"]


def test_who_comes_from_elsewhere_is_caught_up(one):
    one.fan_out(1, b"1")
    one.fan_out(2, b"2")
    one.fan_out(3, b"3")
    end, connection = bind(one, b"alice")
    connection.fan_out_seen = (1,)
    one.fan_outs.catch_up(connection)
    assert [end.packet().body for _ in range(2)] == [b"2", b"3"]
    one.fan_outs.catch_up(connection)
    assert end.quiet()


def test_what_is_caught_up_is_not_sent_again_by_the_run(one):
    crowd(one, 1100)
    one.fan_out(1, b"1")
    one.fan_out(2, b"2")
    end, connection = bind(one, b"alice")
    one.fan_outs.catch_up(connection)
    assert one.counted(2)
    assert [end.packet().body for _ in range(2)] == [b"1", b"2"]
    assert end.quiet()
    assert one.counts(1)["sent"] == one.counts(2)["sent"] == 1101


def test_a_copy_is_answered_with_the_first_ones_counts(one):
    end, _ = bind(one, b"alice")
    for number in (1, 2):
        one.fan_out(number, b"x", flags=bus.REPEATABLE, prefix=PREFIX)
    assert one.counted(1) == one.counted(2) == NONE | {"matched": 1, "sent": 1}
    assert end.packet().body == b"x"
    assert end.quiet()
    assert one.counters["copies_dropped"] == 1


def test_a_copy_that_comes_while_the_first_runs_is_answered_with_it(one):
    crowd(one, 1100)
    for number in (1, 2):
        one.fan_out(number, b"x", flags=bus.REPEATABLE, prefix=PREFIX)
    assert one.counts(2) is None
    assert one.counted(2)
    assert one.counted(1) == one.counts(2)


def test_the_same_prefix_without_an_id_is_no_copy(one):
    end, _ = bind(one, b"alice")
    for number in (1, 2):
        one.fan_out(number, b"x", prefix=PREFIX)
    assert [end.packet().body for _ in range(2)] == [b"x", b"x"]


def test_they_are_kept_for_a_moment_only(one):
    one.fan_out(1, b"x", flags=bus.REPEATABLE, prefix=PREFIX)
    assert one.counted(1)
    one.advance(9)
    assert len(one.fan_outs._recent) == 1
    one.advance()
    assert len(one.fan_outs._recent) == 0


def test_no_more_than_so_many_bytes_are_kept(one):
    for number in range(1, 21):
        one.fan_out(number, bytes(1 << 20))
    assert one.counted(20)
    assert [running.fan_out.number for running in one.fan_outs._recent] == list(range(5, 21))


def test_no_more_than_so_many_are_kept(one, monkeypatch):
    monkeypatch.setattr("gateway.recent_fan_outs.KEEP_MOST", 3)
    for number in range(1, 10):
        one.fan_out(number, b"x")
    assert one.counted(9)
    assert [running.fan_out.number for running in one.fan_outs._recent] == [7, 8, 9]
    assert not one.fan_outs._untold


def test_one_that_runs_is_not_forgotten(one):
    ends = crowd(one, 1100)
    one.fan_out(1, b"x")
    one.advance(20)
    assert len(one.fan_outs._recent) == 1
    assert one.counted(1)
    assert ends[-1].packet().body == b"x"


def test_a_bug_with_one_client_does_not_stop_those_behind(one):
    """Nor every later fan-out."""
    one.expect_internal_errors = True
    end, connection = bind(one, b"alice")
    connection.protocol = Protocol.UNKNOWN
    other, _ = bind(one, b"bob")
    one.fan_out(1, b"1")
    one.fan_out(2, b"2")
    assert one.counted(2)
    assert [other.packet().body for _ in range(2)] == [b"1", b"2"]
    connection.protocol = Protocol.V2
    one.loop.destroy(connection, CloseReason.KICKED)
    turns()
    assert end.rest() == b""


# --- several routers


def test_each_router_counts_for_itself(one):
    end, connection = bind(one, b"alice")
    one.fan_out(5, b"a", router=0)
    one.fan_out(3, b"b", router=2)
    one.fan_out(3, b"c", router=1)
    for router, number in ((0, 5), (2, 3), (1, 3)):
        assert one.counted(number, router)["sent"] == 1
    assert [end.packet().body for _ in range(3)] == [b"a", b"b", b"c"]
    assert connection.fan_out_seen == one.fan_outs.latest == (5, 3, 3)


def test_a_copy_by_another_router_is_answered_with_the_first_ones_counts(one):
    end, _ = bind(one, b"alice")
    for router in range(2):
        one.fan_out(9, b"x", flags=bus.REPEATABLE, prefix=PREFIX, router=router)
    assert one.counted(9, 0) == one.counted(9, 1) == NONE | {"matched": 1, "sent": 1}
    assert end.packet().body == b"x"
    assert end.quiet()


def test_who_comes_from_elsewhere_is_caught_up_with_every_router(one):
    for router, payload in enumerate((b"a", b"b", b"c")):
        one.fan_out(5, payload, router=router)
    end, connection = bind(one, b"alice")
    connection.fan_out_seen = (0, 5)
    one.fan_outs.catch_up(connection)
    assert [end.packet().body for _ in range(2)] == [b"a", b"c"]
    assert connection.fan_out_seen == (5, 5, 5)


def test_all_records_share_what_they_have_seen(one):
    """Or each idle one would cost a tuple more."""
    plain = [bind(one, b"t%d" % at)[1] for at in range(5)]
    special = [bind(one, b"s%d" % at, granted=Granted.ACK)[1] for at in range(5)]
    for router in range(3):
        one.fan_out(7, b"x", router=router)
        assert one.counted(7, router)
    arrived = bind(one, b"arrived")[1]
    arrived.fan_out_seen = tuple(range(7, 8)) * 3  # not the same object
    one.fan_outs.catch_up(arrived)
    assert {id(connection.fan_out_seen) for connection in [*plain, *special, arrived]} == {id(one.fan_outs.latest)}


def test_a_record_that_has_seen_less_gets_the_next_one_and_no_other(one):
    _, ahead = bind(one, b"ahead")
    _, behind = bind(one, b"behind")
    ahead.fan_out_seen = (4, 9)
    one.fan_out(4, b"x", router=0)
    assert one.counted(4)["sent"] == 1
    assert (ahead.fan_out_seen, behind.fan_out_seen) == ((4, 9), (4,))
