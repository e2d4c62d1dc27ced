import base64
import json

import pytest

from gateway.connections import Granted, Login, State
from shared import bus
from shared.outcomes import Outcome
from shared.packets import Packet, encode_packet
from shared.reasons import CloseReason
from shared.signals import Signal
from shared.tokens import SLOTS
from tests.gateway.client_frames import masked
from tests.gateway.parts import busy, token_of, turns, until

SUB, PING, PUSH, DISCONNECT = Signal.SUB, Signal.PING, Signal.PUSH, Signal.DISCONNECT
A, B, C = "h/0", "h/1", "h/2"
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: " + base64.b64encode(bytes(16)) + b"\r\n\r\n"
)


def tell(counter, live, leaving=(), besides=()):
    """RING1 to all concerned."""
    for parts in [*live, *leaving, *besides]:
        parts.ring(counter, live, leaving)


def settled(*workers):
    """Every hand-over is done, and every MOVED has come."""
    until(
        lambda: all(
            not parts.ownership.awaited and parts.landing.moving._scan_at is None and not parts.landing.hand_overs.count
            for parts in workers
        )
    )


@pytest.fixture
def alone(worker):
    one = worker(A)
    one.ring(1, [one])
    return one


@pytest.fixture
def two(worker):
    """Two workers with a settled ring."""
    made = [worker(A), worker(B)]
    tell(1, made)
    settled(*made)
    return made


def here(parts, token):
    return parts.loop.table.by_token.get(token)


# --- binding


def test_a_token_of_ones_own(alone):
    end, connection = alone.connect()
    assert end.ask(SUB, {"token": "alice"}) == {"status": 200, "token": "alice"}
    assert here(alone, b"alice") is connection
    assert connection.binding > 1_700_000_000_000


def test_a_token_is_made_that_is_owned_here(two):
    for parts in two:
        for _ in range(20):
            end, connection = parts.connect()
            token = end.ask(SUB)["token"]
            assert len(bytes.fromhex(token)) == 16
            assert here(parts, token.encode()) is connection


def test_a_worker_that_the_ring_gives_no_slot_gives_the_client_away(two, monkeypatch):
    """As may be the lot of one among hundreds."""
    one, other = two
    monkeypatch.setattr("gateway.ownership.owners_of_slots", lambda live: [B] * SLOTS)
    tell(2, two)
    settled(*two)
    end, _ = one.connect()
    token = end.ask(SUB)["token"]
    assert here(other, token.encode())


def test_before_any_ring_a_sub_waits_and_what_is_behind_it_too(worker):
    parts = worker(A)
    end, connection = parts.connect()
    end.say(SUB, {"token": "alice"})
    end.say(PING)
    assert end.quiet()
    assert connection.state == State.BINDING
    parts.ring(1, [parts])
    assert json.loads(end.packet().body)["status"] == 200
    assert end.packet().signal == PING
    end.say(PING)
    assert end.packet().signal == PING


def test_without_a_worker_a_sub_is_refused_in_the_end(worker):
    parts = worker(A, move_timeout_s=3)
    end, connection = parts.connect()
    end.say(SUB, {"token": "alice"}, message_id=9)
    until(lambda: connection.state == State.BINDING)
    parts.advance(2)
    assert end.quiet()
    parts.advance(2)
    packet = end.packet()
    assert (packet.signal, packet.message_id, json.loads(packet.body)["status"]) == (SUB, 9, 503)
    assert end.rest() == b""
    assert parts.counters["close_unavailable"] == 1


def test_one_that_leaves_while_it_waits_is_forgotten(worker):
    parts = worker(A)
    end, connection = parts.connect()
    end.say(SUB, {"token": "alice"})
    until(lambda: connection.state == State.BINDING)
    end.close()
    until(lambda: connection.fd < 0)
    parts.ring(1, [parts])
    parts.advance(2)
    assert parts.loop.table.by_token == {}
    assert parts.landing._waiting == {}


def test_a_newer_connection_replaces_the_older(alone):
    older, _ = alone.bound(b"alice")
    newer, connection = alone.bound(b"alice")
    packet = older.packet()
    assert (packet.signal, json.loads(packet.body)) == (DISCONNECT, {"reason": "replaced"})
    assert older.rest() == b""
    assert here(alone, b"alice") is connection
    assert alone.push((b"alice", b"x")) == [Outcome.SENT]
    assert newer.packet() == Packet(PUSH, body=b"x")
    assert alone.counters["close_replaced"] == 1


def test_replacing_many_times(alone):
    ends = [alone.bound(b"alice")[0] for _ in range(20)]
    assert all(json.loads(end.packet().body) == {"reason": "replaced"} for end in ends[:-1])
    assert ends[-1].ask(PING) == {"interval": 400}
    assert alone.loop.table.figures()["v2"] == 1


def test_open_subscribe_lets_anybody_take_the_token_of_a_login(alone):
    end, connection = alone.bound(b"alice")
    connection.login = Login("ann", [b"alice"], 1 << 40)
    newcomer, _ = alone.bound(b"alice")
    assert json.loads(end.packet().body) == {"reason": "replaced"}
    assert newcomer.ask(PING) == {"interval": 400}


def test_a_token_that_a_login_holds_belongs_to_that_uid(worker):
    alone = worker(A, open_subscribe="no")
    alone.ring(1, [alone])
    end, connection = alone.bound(b"alice")
    connection.login = Login("ann", [b"alice"], 1 << 40)
    for login, status in (
        (None, 403),
        (Login("eve", [b"alice"], 1 << 40), 403),
        (Login("ann", [b"alice"], 1 << 40), 200),
    ):
        other, newcomer = alone.connect()
        newcomer.login = login
        other.say(SUB, {"token": "alice"}, message_id=7)
        packet = other.packet()
        assert (packet.message_id, json.loads(packet.body)["status"]) == (7, status)
    assert json.loads(end.packet().body) == {"reason": "replaced"}


# --- landing on the owner


def test_a_client_lands_on_the_owner_of_its_token(two):
    one, other = two
    token = token_of(B, [A, B])
    end, connection = one.connect()
    assert end.ask(SUB, {"token": token.decode(), "uid": "bob", "ids": True, "ack": True}) == {
        "status": 200,
        "token": token.decode(),
        "granted": ["ack", "ids"],
    }
    until(lambda: connection.fd < 0)
    landed = here(other, token)
    assert (landed.uid, landed.granted, landed.address) == ("bob", Granted.ACK | Granted.IDS | Granted.HEARD, "test")
    assert (one.loop.table.count, other.loop.table.count) == (0, 1)
    assert (one.counters["handed_over"], other.counters["taken_over"]) == (1, 1)
    assert other.push((token, b"x")) == [Outcome.SENT]
    assert end.packet().body.endswith(b"x")


@pytest.mark.parametrize("version", [0, 1, 2])
def test_unread_input_lands_too(two, version):
    token = token_of(B, [A, B])
    end, _ = two[0].connect()
    packets = [encode_packet(version, Packet(SUB, body=b'{"token":"%b"}' % token))]
    packets += [encode_packet(version, Packet(PING, body=b'{"interval":%d}' % number)) for number in range(20, 40)]
    data = b"".join(packets)
    end.send(data[:-3])
    until(lambda: here(two[1], token))
    end.send(data[-3:])
    assert json.loads(end.packet(version).body)["status"] == 200
    assert [json.loads(end.packet(version).body)["interval"] for _ in range(20)] == list(range(20, 40))


def pass_head(end):
    """Read the answer to an upgrade."""
    assert end.take(12) == b"HTTP/1.1 101"
    until(lambda: b"\r\n\r\n" in end.received or end.pull())
    del end.received[: end.received.index(b"\r\n\r\n") + 4]


def test_a_websocket_lands_with_its_style_and_a_message_in_pieces(two):
    token = token_of(B, [A, B])
    end, _ = two[0].connect()
    end.send(UPGRADE)
    pass_head(end)
    sub = json.dumps({"signal": "sub", "messageId": 3, "content": {"token": token.decode()}}).encode()
    ping = b'{"signal":"ping","messageId":4}'
    end.send(masked(1, sub) + masked(1, ping[:9], fin=False) + masked(0, ping[9:12], fin=False))
    assert json.loads(end.frame()[1]) == {
        "signal": "sub",
        "subSignal": "none",
        "messageId": 3,
        "content": f'{{"status":200,"token":"{token.decode()}"}}',
    }
    until(lambda: here(two[1], token))
    end.send(masked(9, b"in between") + masked(0, ping[12:]))
    assert end.frame() == (0x8A, b"in between")
    assert json.loads(end.frame()[1])["messageId"] == 4
    assert two[1].push((token, "grüß".encode())) == [Outcome.SENT]
    assert json.loads(end.frame()[1])["content"] == "grüß"


def test_a_websocket_of_packets_lands(two):
    token = token_of(B, [A, B])
    end, _ = two[0].connect()
    end.send(UPGRADE + masked(2, encode_packet(2, Packet(SUB, body=b'{"token":"%b"}' % token))))
    pass_head(end)
    assert end.frame()[0] == 0x82
    until(lambda: here(two[1], token))
    assert two[1].push((token, b"\xff")) == [Outcome.SENT]
    assert end.frame() == (0x82, encode_packet(2, Packet(PUSH, body=b"\xff")))


def test_many_land_at_once_in_few_messages(two):
    tokens = {f"client-{number}" for number in range(400)}
    ends = {}
    for token in tokens:
        ends[token], _ = two[0].connect()
        ends[token].say(SUB, {"token": token})
    for token, end in ends.items():
        assert json.loads(end.packet().body) == {"status": 200, "token": token}
    settled(*two)
    assert two[0].loop.table.by_token.keys() | two[1].loop.table.by_token.keys() == {token.encode() for token in tokens}
    assert two[1].counters["taken_over"] == two[0].counters["handed_over"] == len(two[1].loop.table.by_token)


def test_a_flood_behind_a_sub_lands_too(worker):
    """More input in one read than a second may bring: slowed down by the owner, not lost between the two."""
    made = [worker(name, client_bytes_per_s=1024, client_packets_per_s=50) for name in (A, B)]
    tell(1, made)
    settled(*made)
    token = token_of(B, [A, B])
    end, _ = made[0].connect()
    end.send(encode_packet(2, Packet(SUB, body=b'{"token":"%b"}' % token)) + encode_packet(2, Packet(PING)) * 300)
    assert json.loads(end.packet().body)["status"] == 200
    for _ in range(10):
        for parts in made:
            parts.advance()
        turns()
    for _ in range(300):
        assert end.packet().signal == PING


def test_the_owner_is_not_there_yet(two):
    one, other = two
    other.listener.close()
    token = token_of(B, [A, B])
    end, connection = one.connect()
    end.say(SUB, {"token": token.decode()})
    end.say(PING)
    until(lambda: connection.state == State.BINDING)
    turns()
    one.advance(2)
    assert end.quiet()
    other.listener.__init__(other.listener._path, other.landing.receive, other.landing.lost)
    assert json.loads(end.packet().body)["status"] == 200
    assert end.packet().signal == PING
    assert here(other, token)


def test_the_owner_never_comes(worker):
    parts, other = worker(A, move_timeout_s=3), worker(B)
    parts.ring(1, [parts, other])
    other.listener.close()
    token = token_of(B, [A, B])
    end, connection = parts.connect()
    end.say(SUB, {"token": token.decode()})
    until(lambda: connection.state == State.BINDING)
    for _ in range(4):
        until(lambda: parts.loop.table.holds(connection))
        parts.advance()
    assert json.loads(end.packet().body)["status"] == 503
    assert end.rest() == b""


def test_while_it_is_under_way_a_client_is_left_alone(worker):
    """The owner has it, perhaps: whoever writes to it or shuts it down here disturbs another's client."""
    made = [worker(name, move_timeout_s=3) for name in (A, B)]
    tell(1, made)
    settled(*made)
    one, other = made
    token = token_of(B, [A, B])
    with busy(other):
        end, connection = one.connect()
        end.say(SUB, {"token": token.decode()})
        until(lambda: connection.state == State.BINDING)
        one.landing._waiting[connection] = one.loop.wheel.tick  # as if it had come back before
        turns()
        one.advance(10)
        assert end.quiet()
    assert json.loads(end.packet().body)["status"] == 200
    assert here(other, token)
    until(lambda: connection.fd < 0)
    one.advance()
    assert one.landing._waiting == {}


def test_a_refused_client_is_given_again_and_only_once(two):
    """The owner's ring is behind: it refuses until it has heard the news."""
    one, other = two
    token = token_of(B, ([A, B], A), [B])
    one.ring(2, [other], [one])
    end, connection = one.connect()
    end.say(SUB, {"token": token.decode()})
    end.say(PING)
    until(lambda: connection.state == State.BINDING and one.landing._waiting)
    for _ in range(3):
        one.advance()
        turns()
    assert end.quiet()
    other.ring(2, [other], [one])
    assert json.loads(end.packet().body)["status"] == 200
    assert end.packet().signal == PING
    assert end.quiet()


# --- moves


def moving_token(*, out_of=A, into=B):
    """A token that the first worker owns alone, and the second one with it."""
    return token_of(into, ([out_of], out_of), [out_of, into])


def test_a_new_worker_gets_its_clients_and_the_others_stay(worker):
    one, other = worker(A), worker(B)
    tell(1, [one])
    tokens = [b"client-%d" % number for number in range(300)]
    ends = [one.bound(token)[0] for token in tokens]
    tell(2, [one, other])
    settled(one, other)
    for parts in (one, other):
        assert parts.loop.table.by_token.keys() == {
            token for token in tokens if parts.ownership.owner(token) == parts.name
        }
    assert 100 < other.loop.table.count < 200
    for token, end in zip(tokens, ends, strict=True):
        owner = one if here(one, token) else other
        assert owner.push((token, token)) == [Outcome.SENT]
        assert end.packet().body == token
    assert one.counters["handed_over"] == other.counters["taken_over"] == other.loop.table.count


def test_pushes_wait_for_a_client_on_its_way_and_keep_their_order(worker):
    one, other = worker(A), worker(B)
    tell(1, [one])
    token = moving_token()
    end, _ = one.bound(token)
    assert one.push((token, b"1"), (token, b"2")) == [Outcome.SENT] * 2
    tell(2, [one, other])
    assert other.push((token, b"3"), (token, b"4")) == [bus.HELD] * 2
    assert other.push((token, b"5")) == [bus.HELD]
    until(lambda: here(other, token))
    assert other.push((token, b"6")) == [Outcome.SENT]
    assert [end.packet().body for _ in range(6)] == [b"1", b"2", b"3", b"4", b"5", b"6"]
    assert other.late() == [(1, 0, 0), (1, 1, 0), (2, 0, 0)]
    assert other.counters["pushes_held"] == 3
    assert (other.held.count, other.held.bytes) == (0, 0)


def test_absent_is_offline_only_after_moved(worker):
    one, other = worker(A), worker(B)
    tell(1, [one])
    token = moving_token()
    with busy(other):
        tell(2, [one, other])
        assert other.push((token, b"x")) == [bus.HELD]
        turns()
        assert other.late() == []
    settled(one, other)
    assert other.late() == [(1, 0, Outcome.OFFLINE)]
    assert other.push((token, b"x")) == [Outcome.OFFLINE]


def test_moved_is_said_after_the_last_client(worker):
    """Also when they are more than may be under way at once."""
    one, other = worker(A), worker(B)
    tell(1, [one])
    tokens = [b"client-%d" % number for number in range(1000)]
    for token in tokens:
        one.bound(token)
    moved = []
    follow = other.ownership.moved
    other.ownership.moved = lambda peer, epoch: (moved.append(other.loop.table.count), follow(peer, epoch))[1]
    tell(2, [one, other])
    settled(one, other)
    assert moved == [other.loop.table.count]
    assert other.loop.table.count > 400


def test_over_the_bound_a_held_push_is_unavailable(worker):
    one, other = worker(A), worker(B, held_pushes_max=2, held_bytes_max=1024)
    with busy(other):
        other.ring(2, [one, other])
        tokens = [moving_token()] * 3
        assert other.push(*[(token, b"x") for token in tokens]) == [bus.HELD, bus.HELD, Outcome.UNAVAILABLE]
    assert other.counters["held_overflows"] == 1
    one.ring(2, [one, other])
    settled(one, other)
    assert other.push((tokens[0], bytes(1025))) == [Outcome.OFFLINE]


def test_a_worker_that_never_says_moved_is_not_waited_for_for_ever(worker):
    one, other = worker(A), worker(B, move_timeout_s=4)
    other.ring(2, [one, other])
    token = moving_token()
    assert other.push((token, b"x")) == [bus.HELD]
    other.advance(3)
    assert other.late() == []
    other.advance()
    assert other.late() == [(1, 0, Outcome.UNAVAILABLE)]
    assert other.counters["moves_timed_out"] == 1
    assert other.push((token, b"x")) == [Outcome.OFFLINE]
    other.advance(10)
    assert other.counters["moves_timed_out"] == 1


def test_pushes_held_for_a_token_that_the_next_ring_gives_to_another(worker):
    one, other, third = worker(A), worker(B), worker(C)
    token = token_of(B, ([A], A), [A, B], ([A, B, C], C))
    kept = token_of(B, ([A], A), [A, B], [A, B, C])
    with busy(other, third):
        other.ring(2, [one, other])
        assert other.push((token, b"x"), (kept, b"y")) == [bus.HELD] * 2
        other.ring(3, [one, other, third])
        assert other.late() == [(1, 0, bus.STALE)]
        assert other.held.tokens() == [kept]
        assert other.counters["pushes_stale"] == 1


def test_a_client_that_comes_back_gets_what_was_held_meanwhile(worker):
    """Ring 2 takes a token away, ring 3 brings it back before the client has gone."""
    one, other = worker(A), worker(B)
    tell(1, [one])
    token = moving_token()
    end, _ = one.bound(token)
    with busy(other):
        one.ring(2, [one, other])
        until(lambda: not here(one, token))
        turns()
        other.ring(3, [one], [other])
        one.ring(3, [one], [other])
        assert one.push((token, b"1")) == [bus.HELD]
    until(lambda: here(one, token))
    assert one.push((token, b"2")) == [Outcome.SENT]
    assert [end.packet().body for _ in range(2)] == [b"1", b"2"]
    assert one.late() == [(1, 0, Outcome.SENT)]
    assert one.held.count == 0


def test_a_client_that_is_still_under_way_from_here_is_not_offline(worker):
    """Every other worker has said MOVED; but its refusal has not been read yet."""
    one, other = worker(A), worker(B)
    tell(1, [one])
    token = moving_token()
    end, _ = one.bound(token)
    one.ring(2, [one, other])
    with busy(other):
        until(lambda: one.landing.hand_overs._under_way)
        one.ring(3, [one])  # the other is gone from the ring: nobody is awaited
        assert one.ownership.awaited == frozenset()
        assert one.push((token, b"1")) == [bus.HELD]
    until(lambda: here(one, token))
    assert end.packet().body == b"1"
    assert one.late() == [(1, 0, Outcome.SENT)]
    assert one.held.count == 0


def test_what_was_held_for_one_that_went_after_all_is_not_kept(worker):
    one, other = worker(A), worker(B)
    tell(1, [one])
    token = moving_token()
    one.bound(token)
    one.ring(2, [one, other])
    with busy(other):
        until(lambda: one.landing.hand_overs._under_way)
        other.ring(2, [one, other])
        one.ring(3, [one])
        assert one.push((token, b"1")) == [bus.HELD]
    until(lambda: here(other, token) and not one.landing.hand_overs.count)
    assert one.late() == [(1, 0, bus.STALE)]
    assert one.held.count == 0


def test_a_throttled_client_that_comes_back_is_read_again(worker):
    one, other = worker(A, client_packets_per_s=5), worker(B)
    tell(1, [one])
    token = moving_token()
    end, connection = one.bound(token)
    end.send(encode_packet(2, Packet(PING)) * 12)
    until(lambda: connection.paused)
    with busy(other):
        one.ring(2, [one, other])
        until(lambda: one.landing.hand_overs._under_way)
        one.advance(2)
        one.ring(3, [one])
    until(lambda: here(one, token))
    for _ in range(5):
        one.advance()
        turns()
    for _ in range(12):
        assert end.packet().signal == PING


def test_a_lost_link_brings_clients_back_and_they_are_given_again(worker):
    one, other = worker(A), worker(B)
    tell(1, [one])
    tokens = [token for token in (b"client-%d" % number for number in range(50)) if one.ownership.owner(token)]
    ends = {token: one.bound(token)[0] for token in tokens}
    with busy(other):
        tell(2, [one, other])
        until(lambda: one.landing.hand_overs._under_way)
    until(lambda: other.listener.links)[0].close()
    settled(one, other)
    for token, end in ends.items():
        owner = one if one.ownership.owner(token) == A else other
        assert owner.push((token, b"x")) in ([Outcome.SENT], [bus.HELD])
        assert end.packet().body == b"x"


def test_moved_is_said_again_when_a_link_was_lost(two):
    """With the link goes what the other has not read."""
    one, other = two
    with busy(other):
        tell(2, two)
        until(lambda: one.landing.moving.told == (1, 2))
        other.listener.links.pop().close()
    settled(one, other)


def test_of_two_bindings_the_greater_stays_whichever_comes_first(worker):
    one, other = worker(A), worker(B)
    tell(1, [one])
    token = moving_token()
    first, _ = one.bound(token)
    with busy(other):
        tell(2, [one, other])
        until(lambda: one.landing.hand_overs._under_way)
        second, connection = other.bound(token)
    assert json.loads(first.packet().body) == {"reason": "replaced"}
    assert first.rest() == b""
    assert here(other, token) is connection
    assert second.quiet()


# --- leaving


def test_a_leaving_worker_gives_every_client_away(worker):
    one, other = worker(A), worker(B)
    tell(1, [one, other])
    settled(one, other)
    tokens = [token_of(A, [A, B], [A]), *[b"client-%d" % number for number in range(100)]]
    ends = []
    for token in tokens:
        owner = one if one.ownership.owner(token) == A else other
        ends.append(owner.bound(token)[0])
    silent = [one.connect()[0] for _ in range(5)]
    half = one.connect()[0]
    half.send(b"\xf8")
    turns()
    one.landing.leaving = True
    tell(2, [other], [one])
    one.advance()
    until(lambda: one.landing.empty)
    assert other.loop.table.count == len(tokens) + 6
    for token, end in zip(tokens, ends, strict=True):
        assert other.push((token, b"x")) in ([Outcome.SENT], [bus.HELD])
        assert end.packet().body == b"x"
    half.send(encode_packet(2, Packet(PING))[1:])
    assert half.packet().signal == PING
    for end in silent:
        assert end.ask(PING) == {"interval": 400}


def test_a_leaving_worker_gives_nothing_to_itself(worker):
    """Its own ring may still name it."""
    one = worker(A)
    one.ring(1, [one])
    end, connection = one.connect()
    one.landing.leaving = True
    one.advance(3)
    turns()
    assert one.loop.table.holds(connection)
    assert one.landing.hand_overs._links == {}
    assert end.ask(PING) == {"interval": 400}


def test_a_leaving_worker_takes_no_clients_once_it_is_out_of_the_ring(worker):
    one, other = worker(A), worker(B)
    one.landing.leaving = True
    tell(2, [other], [one])
    token = token_of(A, [A, B])
    other.ring(3, [one, other])
    end, connection = other.connect()
    end.say(SUB, {"token": token.decode()})
    until(lambda: connection.state == State.BINDING and other.landing._waiting)
    assert one.loop.table.count == 0
    other.ring(4, [other], [one])
    assert json.loads(end.packet().body)["status"] == 200


def test_all_are_told_to_come_back_each_at_its_own_time(worker):
    one = worker(A, retry_after_ms=1000)
    one.ring(1, [one])
    ends = [one.bound(b"client-%d" % number)[0] for number in range(50)]
    unbound, _ = one.connect()
    one.landing.disconnect_all(CloseReason.SHUTDOWN)
    said = [json.loads(end.packet().body) for end in ends]
    assert {body["reason"] for body in said} == {"shutdown"}
    times = [body["retry_after_ms"] for body in said]
    assert 0 <= min(times) < max(times) <= 1000
    assert len(set(times)) > 10
    assert unbound.rest() == b""
    for end in ends:
        assert end.rest() == b""
        end.close()
    unbound.close()
    until(lambda: one.landing.empty)
    assert one.counters["close_shutdown"] == 51


def test_with_nobody_live_clients_stay_where_they_are(alone):
    end, _ = alone.bound(b"alice")
    alone.ring(2, [])
    alone.advance(3)
    turns()
    assert end.ask(PING) == {"interval": 400}
    assert here(alone, b"alice")


# --- what moves with a client


def test_a_repeated_push_is_recognised_after_a_move(worker):
    one, other = worker(A), worker(B)
    tell(1, [one])
    token = moving_token()
    end, _ = one.bound(token)
    prefix = bytes(range(16))
    assert one.push((token, b"1"), flags=bus.REPEATABLE, prefix=prefix) == [Outcome.SENT]
    tell(2, [one, other])
    settled(one, other)
    assert other.push((token, b"1"), flags=bus.REPEATABLE, prefix=prefix) == [Outcome.SENT]
    assert other.push((token, b"2"), flags=bus.REPEATABLE, prefix=prefix, first=1) == [Outcome.SENT]
    assert [end.packet().body for _ in range(2)] == [b"1", b"2"]
    assert end.quiet()
    assert other.counters["copies_dropped"] == 1
    other.advance(31)
    assert here(other, token).recent is None


def test_message_ids_go_on_after_a_move(worker):
    one, other = worker(A), worker(B)
    tell(1, [one])
    token = moving_token()
    end, _ = one.bound(token, ack=True)
    one.push((token, b"1"), (token, b"2"))
    tell(2, [one, other])
    settled(one, other)
    other.push((token, b"3"))
    assert [end.packet().message_id for _ in range(3)] == [1, 2, 3]
    assert here(other, token).unacknowledged == {1, 2, 3}


def test_a_fan_out_reaches_a_client_that_moves_exactly_once(worker):
    one, other = worker(A), worker(B)
    tell(1, [one])
    tokens = [b"client-%d" % number for number in range(700)]
    ends = [one.bound(token)[0] for token in tokens]
    for number in range(1, 6):  # they run in slices: many clients are given away before their turn
        one.fan_out(number, b"%d" % number)
    tell(2, [one, other])
    for parts in (one, other):
        parts.fan_out(6, b"6")
    settled(one, other)
    for parts in (one, other):
        parts.fan_out(7, b"7")
    until(lambda: one.counts(7) and other.counts(7))
    for end in ends:
        assert [end.packet().body for _ in range(7)] == [b"%d" % number for number in range(1, 8)]
    assert all(end.quiet() for end in ends[::50])
    assert one.counts(7)["sent"] + other.counts(7)["sent"] == 700
    for number in range(1, 6):
        assert one.counts(number)["sent"] == 700


def test_a_fan_out_reaches_a_client_that_was_away_and_came_back(worker):
    one, other = worker(A), worker(B)
    tell(1, [one])
    token = moving_token()
    end, _ = one.bound(token)
    with busy(other):
        one.ring(2, [one, other])
        until(lambda: one.landing.hand_overs._under_way)
        one.fan_out(1, b"all")
        one.ring(3, [one])
    until(lambda: here(one, token))
    assert end.packet().body == b"all"
    assert end.quiet()


# --- clients that are owed something


def owing(parts, token):
    """(client's end, record) of a bound client with a call outstanding."""
    end, connection = parts.bound(token)
    connection.calls = 1
    parts.loop.ledger.mark(connection)
    return end, connection


@pytest.mark.parametrize("slot", ["calls", "stores"])
def test_a_client_does_not_move_while_it_is_owed_something(worker, slot):
    one, other = worker(A), worker(B)
    tell(1, [one])
    token = token_of(B, [A, B])
    end, connection = one.bound(token)
    setattr(connection, slot, 1)
    tell(2, [one, other])
    until(lambda: one.loop._held)
    end.say(PING)
    assert end.quiet()
    assert here(one, token) is connection
    assert other.push((token, b"x")) == [bus.HELD]  # MOVED has not been said
    setattr(connection, slot, 0)
    one.landing.owed_nothing(connection)
    assert end.packet() == Packet(PUSH, body=b"x")
    assert end.packet().signal == PING
    settled(one, other)
    assert here(other, token)


def test_a_client_that_need_not_go_after_all_is_heard_again(worker):
    one, other = worker(A), worker(B)
    tell(1, [one])
    token = token_of(B, [A, B])
    end, connection = owing(one, token)
    tell(2, [one, other])
    until(lambda: one.loop._held)
    end.say(PING)
    tell(3, [one], besides=[other])
    assert end.packet().signal == PING
    assert (connection.calls, one.landing._due) == (1, set())


def test_a_worker_that_leaves_waits_for_what_is_owed(two):
    one, other = two
    token = token_of(A, [A, B])
    end, connection = owing(one, token)
    one.landing.leaving = True
    tell(2, [other], [one])
    until(lambda: one.loop._held)
    one.advance(2)
    assert not one.landing.empty
    connection.calls = 0
    one.landing.owed_nothing(connection)
    settled(one, other)
    assert here(other, token)
    assert end.ask(PING) == {"interval": 400}


def test_a_client_that_ends_while_it_is_owed_something_holds_nothing_up(worker):
    one, other = worker(A), worker(B)
    tell(1, [one])
    end, connection = owing(one, token_of(B, [A, B]))
    tell(2, [one, other])
    until(lambda: one.loop._held)
    one.loop.destroy(connection, CloseReason.KICKED)
    settled(one, other)
    assert (one.loop._held, one.landing._due) == ({}, set())
    assert end.rest() == b""
