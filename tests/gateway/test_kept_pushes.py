"""Pushes with ttl and wait: acked, replays and acknowledgements: a worker's parts and a cache in memory."""

import itertools
import json
import logging
import time

import pytest

from gateway.connections import Granted, Protocol, decode_record, encode_record
from shared import bus
from shared import cached_messages as cached
from shared.bus import HELD, KEPT
from shared.outcomes import Outcome
from shared.signals import PublishError, Signal
from tests.gateway.parts import turns, until
from tests.gateway.stand_in_cache import StandInCache
from tests.gateway.test_landing import moving_token, settled

SENT, ACKED, STORED, OFFLINE, EXPIRED, OVERLOADED, TOO_LARGE, UNAVAILABLE, REFUSED, BUFFERED, UNKNOWN = Outcome

numbers = itertools.count(1)


@pytest.fixture
def one(worker):
    parts = worker()
    parts.ring(1, [parts])
    return parts


@pytest.fixture
def cache(one):
    return StandInCache().join(one)


def terms_of(ttl=60, acked=False, collapse=None, timeout_ms=5000, sender="s", age_ms=0):
    return bus.Terms(ttl, acked, collapse, timeout_ms, sender, age_ms)


def push(parts, token, *payloads, prefix=None, signal=4, flags=0, **terms):
    """(number, outcomes at once) of a batch of pushes with these terms."""
    prefix = prefix or next(numbers).to_bytes(16, "big")
    outcomes = parts.push(
        *[(token, each) for each in payloads], prefix=prefix, signal=signal, flags=flags, terms=terms_of(**terms)
    )
    return parts.batches, outcomes


def later(parts, number, count=1):
    """Outcomes told late of a batch, by index in the order told, once there are so many."""

    def told():
        return [(index, outcome) for batch, index, outcome in parts.late() if batch == number]

    until(lambda: len(told()) >= count)
    return told()


def kept(parts, token, *payloads, **terms):
    """The last outcome of each push."""
    number, outcomes = push(parts, token, *payloads, **terms)
    assert set(outcomes) == {HELD}
    return [outcome for _, outcome in sorted(later(parts, number, len(payloads)))]


def bodies(end, count):
    return [end.packet().body for _ in range(count)]


def come(parts, token, ack=False, **options):
    """(client's end, record) of a client that has said SUB."""
    end, connection = parts.bound(token, ack=ack, **options)
    return end, connection


def live(connection):
    return connection.stored is None or connection.stored.live


def _store(token, payload):
    return cached.Store(token, bytes(18), 4, 0, 1 << 52, None, "", payload)


# --- storing


def test_an_absent_client_s_push_is_stored(one, cache):
    assert kept(one, b"alice", b"1", b"2") == [STORED, STORED]
    assert cache.payloads(b"alice") == [b"1", b"2"]
    assert one.counters["stored"] == 2


def test_who_comes_is_sent_what_is_stored_in_order_before_anything_newer(one, cache):
    kept(one, b"alice", *[b"%d" % number for number in range(200)])
    end, connection = come(one, b"alice")
    until(lambda: live(connection))
    assert one.push((b"alice", b"new")) == [SENT]
    assert bodies(end, 201) == [*[b"%d" % number for number in range(200)], b"new"]
    assert one.counters["pushes_replayed"] == 200


def test_a_replay_of_a_push_with_a_request_id_has_a_line(one, cache, caplog):
    with caplog.at_level(logging.DEBUG, "gateway.pushes"):
        cache.store(_store(b"alice", b"1")._replace(request_id="order-7"))
        cache.store(_store(b"alice", b"2")._replace(key=bytes(17) + b"\1"))
        end, _ = come(one, b"alice")
        assert bodies(end, 2) == [b"1", b"2"]
    assert caplog.messages == [f"push request_id=order-7 outcome=replayed token=alice id={bytes(16).hex()}-0"]


def test_what_comes_during_a_replay_waits_behind_it(one, cache):
    kept(one, b"alice", b"1")
    cache.holds = True
    end, connection = come(one, b"alice")
    number, outcomes = push(one, b"alice", b"2", ttl=60)
    plain = one.batch([(b"alice", b"3")])
    assert outcomes == [HELD]
    assert end.quiet()
    cache.go_on()
    assert bodies(end, 3) == [b"1", b"2", b"3"]
    assert later(one, number) == [(0, STORED)]
    assert later(one, plain) == [(0, SENT)]
    assert live(connection)


def test_a_live_client_s_push_goes_to_cache_and_socket_in_the_same_turn(one, cache):
    end, connection = come(one, b"alice")
    turns()
    cache.holds = True
    number, outcomes = push(one, b"alice", b"1")
    assert outcomes == [HELD]
    assert bodies(end, 1) == [b"1"]
    assert connection.stores == 1
    assert not later(one, number, 0)
    cache.go_on()
    assert later(one, number) == [(0, SENT)]
    assert connection.stores == 0


def test_one_that_acknowledges_is_stored_until_it_does(one, cache):
    end, connection = come(one, b"alice", ack=True)
    turns()
    assert kept(one, b"alice", b"1") == [STORED]
    packet = end.packet()
    assert (packet.body, packet.message_id) == (b"1", 1)
    assert cache.payloads(b"alice") == [b"1"]
    end.say(Signal.PUB_ACK, message_id=1)
    until(lambda: not cache.payloads(b"alice"))
    assert connection.stored is None
    assert not connection.unacknowledged


def test_an_acknowledgement_before_the_cache_answers(one, cache):
    end, connection = come(one, b"alice", ack=True)
    turns()
    cache.holds = True
    number, _ = push(one, b"alice", b"1")
    end.packet()
    end.say(Signal.PUB_ACK, message_id=1)
    until(lambda: not connection.unacknowledged)
    cache.go_on()
    assert later(one, number) == [(0, ACKED)]
    until(lambda: not cache.payloads(b"alice"))
    assert connection.stored is None


def test_what_is_not_acknowledged_comes_again_with_the_same_id_and_nothing_that_is(one, cache):
    end, _connection = come(one, b"alice", ack=True, ids=True)
    turns()
    kept(one, b"alice", b"1", b"2", b"3")
    first = bodies(end, 3)
    end.say(Signal.PUB_ACK, message_id=2)
    until(lambda: len(cache.payloads(b"alice")) == 2)
    end.close()
    until(lambda: not one.loop.table.count)
    end, _ = come(one, b"alice", ack=True, ids=True)
    assert bodies(end, 2) == [first[0], first[2]]
    assert end.quiet()


def test_a_client_that_cannot_acknowledge_has_what_its_kernel_has(one, cache):
    end, connection = come(one, b"alice")
    turns()
    assert kept(one, b"alice", b"1", b"2") == [SENT, SENT]
    one.advance()
    assert len(cache.payloads(b"alice")) == 2  # its kernel, a Unix socket's, has them, but it has not read them
    bodies(end, 2)
    one.advance()
    until(lambda: not cache.payloads(b"alice"))
    assert connection.stored is None


def test_only_what_its_kernel_lacks_stays(one, cache, monkeypatch):
    _, connection = come(one, b"alice")
    turns()
    kept(one, b"alice", b"1", b"2", b"3")
    size = connection.stored.flight[0].size
    monkeypatch.setattr("gateway.acknowledgements.unacknowledged_bytes", lambda fd: size + 1)
    one.advance()
    turns()
    assert cache.payloads(b"alice") == [b"2", b"3"]
    monkeypatch.setattr("gateway.acknowledgements.unacknowledged_bytes", lambda fd: 0)
    one.advance()
    turns()
    assert cache.payloads(b"alice") == []


def test_full_is_overloaded_unless_it_was_sent(one):
    cache = StandInCache(most=1, refuse=True).join(one)
    assert kept(one, b"alice", b"1", b"2") == [STORED, OVERLOADED]
    end, _ = come(one, b"alice", ack=True)
    assert bodies(end, 1) == [b"1"]
    turns()
    assert kept(one, b"alice", b"3") == [SENT]
    assert bodies(end, 1) == [b"3"]
    assert cache.payloads(b"alice") == [b"1"]


def test_the_sender_is_told_what_had_to_go(one):
    StandInCache(most=2).join(one)
    number, _ = push(one, b"alice", b"1", b"2", b"3", b"4")
    assert sorted(later(one, number, 4)) == [(index, STORED) for index in range(4)]
    assert one.heard(bus.DETAIL1, bus.decode_numbered) == [(number, {"dropped": {"2": 1, "3": 1}})]
    kinds = [frames[0] for frames in one.said if frames[0] in (bus.DETAIL1, bus.LATE1)]
    assert kinds == [bus.DETAIL1, bus.LATE1]


def test_a_newer_one_with_the_same_key_stands_for_the_older(one, cache):
    kept(one, b"alice", b"1", collapse="score")
    kept(one, b"alice", b"2")
    kept(one, b"alice", b"3", collapse="score")
    end, _ = come(one, b"alice")
    assert bodies(end, 2) == [b"2", b"3"]
    assert end.quiet()


@pytest.mark.parametrize("code", [PublishError.TIMED_OUT, PublishError.NOBODY_KNOWS])
def test_nothing_is_pretended_when_the_cache_is_silent(one, cache, code):
    cache.fails = code
    assert kept(one, b"away", b"1") == [UNKNOWN]
    end, connection = come(one, b"alice")
    cache.fails = None
    until(lambda: live(connection))
    cache.fails = code
    assert kept(one, b"alice", b"1") == [UNKNOWN]
    assert bodies(end, 1) == [b"1"]


def test_what_certainly_was_not_stored_is_unavailable(one, cache):
    come(one, b"alice", ack=True)
    turns()
    cache.fails = PublishError.QUEUE_FULL
    assert kept(one, b"away", b"1") == [UNAVAILABLE]
    assert kept(one, b"alice", b"1") == [UNKNOWN]  # it was sent
    assert one.counters["cache_failures"] == 2


def test_an_answer_that_cannot_be_read_is_no_answer(one, cache):
    cache.carry_out = lambda operation: ("nonsense",)
    cached_encode = b"\xc1"
    cache._answer = lambda: [done(0, cached_encode) for _, done in [cache._waiting.pop(0)]]
    number, _ = push(one, b"away", b"1")
    assert later(one, number) == [(0, UNKNOWN)]


def test_without_a_cache_nothing_is_stored(one):
    assert push(one, b"away", b"1")[1] == [UNAVAILABLE]
    end, _ = come(one, b"alice")
    assert push(one, b"alice", b"1")[1] == [SENT]
    assert bodies(end, 1) == [b"1"]


def test_expired_and_too_large(one, cache):
    assert push(one, b"away", b"1", ttl=1, age_ms=1000)[1] == [EXPIRED]
    assert push(one, b"away", bytes(1 << 20))[1] == [TOO_LARGE]
    come(one, b"alice")
    assert push(one, b"alice", b"1", ttl=1, age_ms=1000)[1] == [EXPIRED]
    assert push(one, b"alice", bytes(1 << 20))[1] == [TOO_LARGE]
    assert push(one, b"a\nb", b"1")[1] == [REFUSED]


def test_what_its_client_cannot_take_is_refused_at_once_or_dropped_at_the_replay(one, cache):
    kept(one, b"alice", b"\xff", b"good")
    end, connection = one.connect()
    connection.protocol = Protocol.WS_TEXT
    connection.granted |= Granted.HEARD
    one.loop.table.bind(connection, b"alice")
    one.kept.bound(connection)
    assert json.loads(end.frame()[1])["content"] == "good"
    until(lambda: len(cache.payloads(b"alice")) == 1)
    assert one.counters["replays_refused"] == 1
    assert push(one, b"alice", b"\xff")[1] == [REFUSED]


def test_over_the_bound_is_unavailable(worker):
    one = worker(held_pushes_max=2)
    one.ring(1, [one])
    cache = StandInCache().join(one)
    cache.holds = True
    assert push(one, b"away", b"1", b"2", b"3")[1] == [HELD, HELD, UNAVAILABLE]
    assert one.counters["store_overflows"] == 1


def test_one_turn_s_operations_go_in_one_call(one, cache):
    push(one, b"a", b"1", b"2")
    push(one, b"b", b"3")
    turns()
    assert [len(operations) for operations in cache.asked] == [3]


def test_many_operations_go_in_several_calls_in_order(one, cache):
    payloads = [bytes(200_000) + b"%d" % number for number in range(6)]
    assert kept(one, b"a", *payloads) == [STORED] * 6
    assert len(cache.asked) > 2
    assert cache.payloads(b"a") == payloads


# --- copies


def test_a_copy_of_a_stored_one_is_not_sent_again(one, cache):
    end, _ = come(one, b"alice")
    turns()
    assert kept(one, b"alice", b"1", prefix=b"p" * 16, flags=bus.REPEATABLE) == [SENT]
    assert kept(one, b"alice", b"1", prefix=b"p" * 16, flags=bus.REPEATABLE) == [STORED]
    assert bodies(end, 1) == [b"1"]
    assert end.quiet()


def test_a_copy_of_an_acknowledged_one_is_acknowledged(one, cache):
    end, connection = come(one, b"alice", ack=True)
    turns()
    kept(one, b"alice", b"1", prefix=b"p" * 16, flags=bus.REPEATABLE)
    end.say(Signal.PUB_ACK, message_id=end.packet().message_id)
    until(lambda: not connection.unacknowledged)
    assert push(one, b"alice", b"1", prefix=b"p" * 16, flags=bus.REPEATABLE)[1] == [ACKED]


def test_a_copy_of_an_acknowledged_one_does_not_reach_the_next_connection(one, cache):
    end, connection = come(one, b"alice", ack=True)
    turns()
    kept(one, b"alice", b"1", prefix=b"p" * 16, flags=bus.REPEATABLE)
    end.say(Signal.PUB_ACK, message_id=end.packet().message_id)
    until(lambda: not connection.unacknowledged)
    end.close()
    until(lambda: not one.loop.table.count)
    again, _ = come(one, b"alice", ack=True)
    turns()
    assert push(one, b"alice", b"1", prefix=b"p" * 16, flags=bus.REPEATABLE)[1] == [ACKED]
    assert again.quiet()


def test_a_copy_of_one_that_may_be_stored_is_dropped_by_the_first_s_acknowledgement(one, cache):
    end, _connection = come(one, b"alice", ack=True)
    turns()
    cache.fails = PublishError.NOBODY_KNOWS
    assert kept(one, b"alice", b"1", prefix=b"p" * 16, flags=bus.REPEATABLE) == [UNKNOWN]
    cache.fails = None
    assert kept(one, b"alice", b"1", prefix=b"p" * 16, flags=bus.REPEATABLE) == [STORED]
    assert cache.payloads(b"alice") == [b"1"]
    end.say(Signal.PUB_ACK, message_id=end.packet().message_id)
    until(lambda: not cache.payloads(b"alice"))
    assert end.quiet()


# --- the window


def test_a_full_window_stores_and_goes_on_with_acknowledgements(worker):
    one = worker(unacknowledged_max=4)
    one.ring(1, [one])
    cache = StandInCache().join(one)
    end, connection = come(one, b"alice", ack=True)
    turns()
    payloads = [b"%d" % number for number in range(20)]
    assert kept(one, b"alice", *payloads) == [STORED] * 20
    assert not live(connection)
    plain = one.batch([(b"alice", b"plain")])  # it waits behind what is stored
    got = []
    while len(got) < 21:
        packet = end.packet()
        got.append(packet.body)
        end.say(Signal.PUB_ACK, message_id=packet.message_id)
    assert got == [*payloads, b"plain"]
    assert later(one, plain) == [(0, SENT)]
    until(lambda: not cache.payloads(b"alice"))
    until(lambda: connection.stored is None)


def test_a_client_that_acknowledges_nothing_holds_up_nobody_else_s_pushes_for_long(worker):
    one = worker(unacknowledged_max=2)
    one.ring(1, [one])
    StandInCache().join(one)
    come(one, b"alice", ack=True)
    turns()
    kept(one, b"alice", b"1", b"2", b"3")
    plain = one.batch([(b"alice", b"4")])
    one.advance(5)
    assert later(one, plain) == [(0, OVERLOADED)]
    assert one.push((b"alice", b"5")) == [OVERLOADED]


def test_a_client_that_does_not_read_is_sent_the_rest_when_it_does(one, cache):
    end, connection = one.connect(buffer=1)
    end.say(Signal.SUB, {"token": "alice"})
    end.packet()
    turns()
    payloads = [bytes([65 + number]) * 100_000 for number in range(8)]
    assert set(kept(one, b"alice", *payloads)) <= {STORED, SENT}
    got = bodies(end, 8)
    assert got == payloads
    until(lambda: live(connection))


# --- wait: acked


def test_wait_for_an_acknowledgement(one, cache):
    end, _ = come(one, b"alice", ack=True)
    turns()
    number, outcomes = push(one, b"alice", b"1", acked=True)
    assert outcomes == [HELD]
    assert later(one, number) == [(0, KEPT)]
    end.say(Signal.PUB_ACK, message_id=end.packet().message_id)
    assert later(one, number, 2)[1] == (0, ACKED)


def test_wait_for_an_acknowledgement_of_what_is_not_stored(one):
    end, connection = come(one, b"alice", ack=True)
    number, outcomes = push(one, b"alice", b"1", b"2", ttl=0, acked=True)
    assert outcomes == [KEPT, KEPT]
    end.say(Signal.PUB_ACK, message_id=2)
    assert later(one, number) == [(1, ACKED)]
    end.say(Signal.PUB_ACK, message_id=1)
    assert later(one, number, 2)[1] == (0, ACKED)
    assert connection.stored is None


@pytest.mark.parametrize(("ttl", "outcome"), [(0, SENT), (60, STORED)])
def test_no_acknowledgement_in_time(one, cache, ttl, outcome):
    end, _ = come(one, b"alice", ack=True)
    turns()
    before = time.monotonic()
    number, _ = push(one, b"alice", b"1", ttl=ttl, acked=True, timeout_ms=300, age_ms=100)
    until(lambda: (0, outcome) in later(one, number))
    assert time.monotonic() - before > 0.19
    end.say(Signal.PUB_ACK, message_id=end.packet().message_id)  # it may still come
    until(lambda: not cache.payloads(b"alice"))


@pytest.mark.parametrize(("ttl", "outcome"), [(0, SENT), (60, STORED)])
def test_a_client_that_ends_acknowledges_nothing_more(one, cache, ttl, outcome):
    end, _ = come(one, b"alice", ack=True)
    turns()
    number, _ = push(one, b"alice", b"1", ttl=ttl, acked=True)
    turns()
    end.close()
    until(lambda: (0, outcome) in later(one, number))


def test_who_cannot_acknowledge_is_not_waited_for(one, cache):
    come(one, b"alice")
    turns()
    assert push(one, b"alice", b"1", ttl=0, acked=True)[1] == [SENT]
    assert kept(one, b"alice", b"1", acked=True) == [SENT]
    assert push(one, b"away", b"1", ttl=0, acked=True)[1] == [OFFLINE]


def test_an_unknown_acknowledgement_is_counted(one):
    end, _ = come(one, b"alice", ack=True)
    end.say(Signal.PUB_ACK, message_id=77)
    until(lambda: one.counters["acks_unknown"] == 1)


# --- who comes and goes


def test_a_client_that_goes_during_a_replay_leaves_nothing_waiting(one, cache):
    kept(one, b"alice", b"1")
    cache.holds = True
    end, _ = come(one, b"alice")
    plain = one.batch([(b"alice", b"2")])
    end.close()
    until(lambda: not one.loop.table.count)
    assert later(one, plain) == [(0, OFFLINE)]
    cache.go_on()
    turns()
    assert cache.payloads(b"alice") == [b"1"]
    assert not one.held.count


def test_stored_while_its_client_is_just_coming(one, cache):
    cache.holds = True
    push(one, b"alice", b"1")
    turns()
    end, connection = come(one, b"alice")
    assert connection.stores == 1
    push(one, b"alice", b"2")
    cache.go_on()
    assert bodies(end, 2) == [b"1", b"2"]
    until(lambda: live(connection))
    assert end.quiet()


def test_a_newer_connection_is_sent_what_the_older_has_not_acknowledged(one, cache):
    older, _ = come(one, b"alice", ack=True)
    turns()
    kept(one, b"alice", b"1", b"2")
    bodies(older, 2)
    newer, _ = come(one, b"alice", ack=True)
    assert bodies(newer, 2) == [b"1", b"2"]


def test_a_cache_that_comes_is_read_for_all_who_are_here(one):
    cache = StandInCache()
    end, connection = come(one, b"alice")
    cache.store(_store(b"alice", b"1"))
    cache.join(one)
    assert bodies(end, 1) == [b"1"]
    until(lambda: live(connection))


def test_a_cache_that_goes_holds_nobody_up_for_long(one, cache):
    cache.holds = True
    end, connection = come(one, b"alice")
    plain = one.batch([(b"alice", b"1")])
    cache.there = False
    cache.go_on()
    turns()
    assert push(one, b"alice", b"2")[1] == [UNAVAILABLE]
    assert end.quiet()
    one.advance(5)
    assert bodies(end, 1) == [b"1"]
    assert later(one, plain) == [(0, SENT)]
    assert live(connection)


def test_a_cache_that_comes_back_is_waited_for(one, cache):
    kept(one, b"alice", b"1")
    cache.there = False
    one.kept.storing.look()
    end, _connection = come(one, b"alice")
    plain = one.batch([(b"alice", b"2")])
    assert end.quiet()
    cache.there = True
    one.kept.storing.look()
    assert bodies(end, 2) == [b"1", b"2"]
    assert later(one, plain) == [(0, SENT)]


def test_where_a_cache_belongs_it_is_waited_for_from_the_start(worker):
    one = worker(services="message-cache")
    one.ring(1, [one])
    cache = StandInCache()
    cache.store(_store(b"alice", b"1"))
    end, connection = come(one, b"alice")
    turns()
    assert not live(connection)
    assert push(one, b"alice", b"2")[1] == [UNAVAILABLE]
    cache.join(one)
    assert bodies(end, 1) == [b"1"]
    until(lambda: live(connection))
    assert kept(one, b"alice", b"2") == [SENT]


def test_where_a_cache_belongs_nothing_to_be_kept_is_only_sent_however_long_it_is_away(one, cache):
    end, connection = come(one, b"alice")
    turns()
    cache.there = False
    one.advance(60)
    until(lambda: live(connection))
    assert push(one, b"alice", b"1")[1] == [UNAVAILABLE]
    assert one.push((b"alice", b"2")) == [SENT]
    assert bodies(end, 1) == [b"2"]


def test_what_a_cache_that_has_just_come_may_have_goes_before_a_newer_push(one):
    end, _ = come(one, b"alice")
    cache = StandInCache()
    cache.store(_store(b"alice", b"1"))
    cache.join(one)  # nobody has read from it yet
    assert push(one, b"alice", b"2")[1] == [HELD]
    assert bodies(end, 2) == [b"1", b"2"]


def test_an_acknowledged_push_that_may_be_stored_does_not_come_again(one, cache):
    end, _ = come(one, b"alice", ack=True)
    turns()
    cache.loses_answers = True
    assert kept(one, b"alice", b"1", b"2") == [UNKNOWN, UNKNOWN]
    cache.loses_answers = False
    end.say(Signal.PUB_ACK, message_id=1)
    until(lambda: len(one.loop.table.by_token[b"alice"].unacknowledged) == 1)
    assert bodies(end, 2) == [b"1", b"2"]
    again, _ = come(one, b"alice", ack=True)
    assert bodies(again, 1) == [b"2"]
    until(lambda: cache.payloads(b"alice") == [b"2"])
    assert again.quiet()


def test_a_push_that_may_be_stored_is_not_sent_again_on_the_same_connection(one, cache):
    end, connection = come(one, b"alice", ack=True)
    turns()
    cache.loses_answers = True
    assert kept(one, b"alice", b"1") == [UNKNOWN]
    cache.loses_answers = False
    assert bodies(end, 1) == [b"1"]
    one.kept.replays.begin(connection)
    until(lambda: live(connection))
    assert end.quiet()
    end.say(Signal.PUB_ACK, message_id=1)
    until(lambda: not cache.payloads(b"alice"))


def test_a_read_that_fails_is_made_again(one, cache):
    kept(one, b"alice", b"1")
    cache.fails = PublishError.TIMED_OUT
    end, _ = come(one, b"alice")
    turns()
    cache.fails = None
    assert bodies(end, 1) == [b"1"]


def test_reads_that_bring_too_much_together_are_made_one_by_one(one, cache):
    tokens = [b"a", b"b", b"c"]
    for token in tokens:
        cache.store(_store(token, token))
    cache.refuses_reads = True
    ends = []
    for token in tokens:
        end, _ = one.connect()
        end.say(Signal.SUB, {"token": token.decode()})
        ends.append(end)
    assert [bodies(end, 2)[1] for end in ends] == tokens


def test_a_drop_that_fails_is_made_again_and_passed_over_until_then(one, cache):
    end, _connection = come(one, b"alice", ack=True)
    turns()
    kept(one, b"alice", b"1")
    cache.fails = PublishError.TIMED_OUT
    end.say(Signal.PUB_ACK, message_id=end.packet().message_id)
    until(lambda: one.counters["cache_failures"] == 1)
    cache.fails = None
    again, _ = come(one, b"alice", ack=True)
    turns()
    assert again.quiet()
    one.advance()
    until(lambda: not cache.payloads(b"alice"))


def test_a_store_that_has_lost_everything_counts_anew(one, cache):
    _, connection = come(one, b"alice", ack=True)
    turns()
    kept(one, b"alice", b"1", b"2")
    cache.kept.clear()
    cache.newest.clear()
    cache.keys.clear()
    one.kept.replays.begin(connection)
    until(lambda: live(connection))
    assert connection.stored.after == 0


def test_a_store_that_has_lost_everything_is_not_read_for_ever(one, cache):
    cache.holds = True
    end, connection = come(one, b"alice")
    number, outcomes = push(one, b"alice", b"1", b"2")
    assert outcomes == [HELD, HELD]
    carry_out = cache.carry_out

    def lost_when_read(operation):
        if isinstance(operation, cached.Read) and cache.newest:
            cache.kept, cache.newest, cache.keys = {}, {}, {}
        return carry_out(operation)

    cache.carry_out = lost_when_read
    cache.go_on()
    assert later(one, number, 2) == [(0, STORED), (1, STORED)]
    until(lambda: live(connection))
    assert kept(one, b"alice", b"3") == [SENT]
    assert bodies(end, 1) == [b"3"]


def test_expired_ones_are_passed_over(one, cache):
    cache.store(_store(b"alice", b"old")._replace(expires=1))
    cache.store(_store(b"alice", b"new")._replace(key=b"k" * 18))
    end, _ = come(one, b"alice")
    assert bodies(end, 1) == [b"new"]


# --- moves


def test_a_client_takes_along_what_it_has_not_acknowledged(worker):
    one, other = worker("h/0"), worker("h/1")
    cache = StandInCache().join(one)
    cache.join(other)
    token = moving_token()
    one.ring(1, [one])
    end, _connection = come(one, token, ack=True)
    turns()
    kept(one, token, b"1", b"2")
    bodies(end, 2)
    one.ring(2, [one, other])
    other.ring(2, [one, other])
    settled(one, other)
    until(lambda: token in other.loop.table.by_token)
    moved = other.loop.table.by_token[token]
    assert [written.seq for written in moved.stored.window.values()] == [1, 2]
    end.say(Signal.PUB_ACK, message_id=1)
    until(lambda: cache.payloads(token) == [b"2"])
    assert end.quiet()


def test_a_client_does_not_move_while_a_push_to_it_is_being_stored(worker):
    one, other = worker("h/0"), worker("h/1")
    cache = StandInCache().join(one)
    token = moving_token()
    one.ring(1, [one])
    end, _ = come(one, token)
    turns()
    cache.holds = True
    number, _ = push(one, token, b"1")
    one.ring(2, [one, other])
    other.ring(2, [one, other])
    turns()
    assert token in one.loop.table.by_token
    assert not other.ownership.is_settled(token)
    cache.go_on()
    until(lambda: token in other.loop.table.by_token)
    assert later(one, number) == [(0, SENT)]
    until(lambda: other.ownership.is_settled(token))
    assert bodies(end, 1) == [b"1"]


def test_moved_is_not_said_while_a_push_to_an_absent_client_is_being_stored(worker):
    one, other = worker("h/0"), worker("h/1")
    cache = StandInCache().join(one)
    token = moving_token()
    one.ring(1, [one])
    cache.holds = True
    push(one, token, b"1")
    turns()
    one.ring(2, [one, other])
    other.ring(2, [one, other])
    turns()
    assert not other.ownership.is_settled(token)
    cache.go_on()
    until(lambda: other.ownership.is_settled(token))


def come_before_it_is_stored(worker):
    """(client's end, its new worker, token) of one that has read what there was before another worker stored a push."""
    one, other = worker("h/0"), worker("h/1")
    cache = StandInCache().join(one)
    theirs = StandInCache().join(other)
    token = moving_token()
    one.ring(1, [one])
    cache.holds = True
    push(one, token, b"1")
    turns()
    one.ring(2, [one, other])
    other.ring(2, [one, other])
    end, connection = come(other, token)
    until(lambda: live(connection))
    cache.go_on()
    theirs.kept, theirs.newest = cache.kept, cache.newest  # one store, in truth
    until(lambda: other.ownership.is_settled(token))
    return end, other, token


def test_who_comes_while_another_may_still_store_reads_once_more(worker):
    end, other, _ = come_before_it_is_stored(worker)
    other.advance()
    assert bodies(end, 1) == [b"1"]


def test_what_another_has_stored_meanwhile_comes_before_what_is_newer(worker):
    end, other, token = come_before_it_is_stored(worker)
    push(other, token, b"2")
    assert bodies(end, 2) == [b"1", b"2"]
    other.advance()
    assert end.quiet()


def test_an_expected_client_s_push_is_stored_when_it_does_not_come(worker):
    one, other = worker("h/0"), worker("h/1")
    cache = StandInCache().join(other)
    token = moving_token()
    one.ring(1, [one])
    other.ring(2, [one, other])
    number, outcomes = push(other, token, b"1")
    assert outcomes == [HELD]
    turns()
    assert not cache.asked
    one.ring(2, [one, other])
    assert later(other, number) == [(0, STORED)]
    assert cache.payloads(token) == [b"1"]


def test_the_state_survives_a_hand_over_and_a_version_that_does_not_know_it(one, cache):
    _, connection = come(one, b"alice", ack=True)
    turns()
    kept(one, b"alice", b"1")
    record = encode_record(connection, 5)
    again = decode_record(record, 9, 5)
    assert again.stored.after == 1
    assert {key: written.seq for key, written in again.stored.window.items()} == {1: 1}


def test_figures_of_what_is_not_acknowledged(one, cache):
    come(one, b"alice", ack=True)
    turns()
    kept(one, b"alice", b"1", b"2")
    (found,) = one.call("find", "alice")
    assert found["unacknowledged"] == 2
    assert found["unacknowledged_bytes"] > 0


def test_an_idle_client_remembers_nothing(one, cache):
    _, connection = come(one, b"alice")
    until(lambda: connection.stored is None)
