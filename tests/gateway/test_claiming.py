"""Clients whose owner is on another host, or does not take them."""

import json

import pytest

from gateway.connections import Login, State
from shared import bus, bus_claims, bus_rings
from shared.bus import CLAIM1, STALE, UNCLAIM1
from shared.bus_claims import Claim
from shared.outcomes import Outcome
from shared.rings import Epoch
from shared.signals import Signal
from shared.tokens import slot_of
from tests.gateway.parts import ring, token_of, turns, until
from tests.gateway.test_landing import here, settled, tell

SUB, PING, DISCONNECT = Signal.SUB, Signal.PING, Signal.DISCONNECT
A, B, FAR = "h/0", "h/1", "g/0"


def claims_in(body):
    return bus_claims.decode_claims(body)


def claimed(parts, router=0):
    """Claims of all CLAIM1."""
    return [claim for _, body in parts.heard(CLAIM1, bus.decode_numbered, router) for claim in claims_in(body)]


def unclaimed(parts, router=0):
    return [claim for body in parts.heard(UNCLAIM1, router=router) for claim in claims_in(body)]


def confirm(parts, *routers):
    """CLAIMED1 to every CLAIM1."""
    for router in routers or (0,):
        for number, _ in parts.heard(CLAIM1, bus.decode_numbered, router):
            parts.hear(bus.encode_numbered(bus.CLAIMED1, number, {}), router)


def taken(parts, token, binding, by=FAR, moves=0, router=0):
    parts.hear(bus_claims.encode_claims(bus.TAKEN1, [Claim(token, binding, by, moves)]), router)


def freed(parts, token, binding, by=FAR):
    parts.hear(bus_claims.encode_claims(bus.FREED1, [Claim(token, binding, by)]))


def says(end):
    """What the next packet's body says, by its signal."""
    packet = end.packet()
    return packet.signal, json.loads(packet.body)


@pytest.fixture
def hosts(worker):
    """(worker of this host, worker of another) in a settled ring; the second is a name only."""
    one, far = worker(A), worker(FAR)
    one.ring(1, [one, far])
    one.advance(3)
    return one, far


@pytest.fixture
def token():
    """One that the other host's worker owns."""
    return token_of(FAR, [A, FAR])


@pytest.fixture
def mine():
    return token_of(A, [A, FAR])


def bound(parts, token, **options):
    """(client's end, record) of a client that is bound and claimed here."""
    end, connection = parts.connect()
    end.say(SUB, {"token": token.decode(), **options})
    until(lambda: claimed(parts))
    confirm(parts)
    assert says(end) == (SUB, {"status": 200, "token": token.decode()})
    return end, connection


# --- own claims


def test_a_client_of_another_hosts_worker_is_kept_and_claimed(hosts, token):
    one, _ = hosts
    end, connection = one.connect()
    end.say(SUB, {"token": token.decode()})
    end.say(PING)
    until(lambda: claimed(one))
    assert claimed(one) == [Claim(token, connection.binding, A)]
    assert end.quiet()
    confirm(one)
    assert says(end) == (SUB, {"status": 200, "token": token.decode()})
    assert end.packet().signal == PING
    assert here(one, token) is connection
    assert one.landing.hand_overs._links == {}
    assert one.push((token, b"x")) == [Outcome.SENT]
    assert one.counters["clients_claimed"] == 1


def test_every_router_that_is_heard_must_have_the_claim(worker, token):
    one, far = worker(A, routers=3), worker(FAR)
    one.alive(1)
    for router in range(2):
        one.ring(1, [one, far], router=router)
    end, _ = one.connect()
    end.say(SUB, {"token": token.decode()})
    until(lambda: claimed(one, 2))
    assert claimed(one, 0) == claimed(one, 1) == claimed(one, 2)
    confirm(one, 0)
    assert end.quiet()
    confirm(one, 1)
    assert says(end)[1]["status"] == 200


def test_a_router_that_does_not_answer_is_waited_for_a_second(hosts, token):
    one, _ = hosts
    end, connection = one.connect()
    end.say(SUB, {"token": token.decode()})
    until(lambda: claimed(one))
    assert end.quiet()
    assert says(end)[1]["status"] == 200
    assert here(one, token) is connection


def test_many_claims_of_one_turn_go_together(hosts):
    one, _ = hosts
    tokens = [token for token in (b"c%d" % at for at in range(200)) if one.ownership.owner(token) == FAR]
    ends = [one.connect()[0] for _ in tokens]
    for end, token in zip(ends, tokens, strict=True):
        end.say(SUB, {"token": token.decode()})
    until(lambda: len(claimed(one)) == len(tokens))
    assert len(one.heard(CLAIM1, bus.decode_numbered)) < 10
    confirm(one)
    for end in ends:
        assert says(end)[1]["status"] == 200


def test_pushes_for_one_that_awaits_its_claim_wait_behind_the_answer(hosts, token):
    one, _ = hosts
    end, _ = one.connect()
    end.say(SUB, {"token": token.decode()})
    until(lambda: claimed(one))
    assert one.push((token, b"1"), (token, b"2")) == [bus.HELD] * 2
    confirm(one)
    assert says(end)[0] == SUB
    assert [end.packet().body for _ in range(2)] == [b"1", b"2"]
    assert one.late() == [(1, 0, Outcome.SENT), (1, 1, Outcome.SENT)]


def test_one_that_goes_while_it_awaits_its_claim(hosts, token):
    one, _ = hosts
    end, _ = one.connect()
    end.say(SUB, {"token": token.decode()})
    until(lambda: claimed(one))
    assert one.push((token, b"1")) == [bus.HELD]
    end.close()
    until(lambda: unclaimed(one))
    assert unclaimed(one) == claimed(one)
    assert one.late() == [(1, 0, STALE)]
    confirm(one)
    assert one.loop.table.by_token == {}
    assert not one.deliveries.claims.mine


def test_the_claim_ends_with_the_client(hosts, token):
    one, _ = hosts
    end, connection = bound(one, token)
    claim = Claim(token, connection.binding, A)
    end.close()
    until(lambda: unclaimed(one) == [claim])
    assert one.push((token, b"x")) == [STALE]


def test_a_push_for_one_who_has_gone_is_stale_and_the_claim_ends_before(hosts, token):
    one, _ = hosts
    _, connection = bound(one, token)
    del one.loop.table.by_token[token]  # as if its end had not been noticed
    assert one.push((token, b"x")) == [STALE]
    assert [frames[0] for frames in one.said[-3:]] == [UNCLAIM1, CLAIM1, bus.OUTCOMES1]
    one.loop.table.by_token[token] = connection


def test_a_newer_client_here_replaces_the_older_and_its_claim(hosts, token):
    one, _ = hosts
    first, older = bound(one, token)
    second, newer = one.connect()
    second.say(SUB, {"token": token.decode()})
    until(lambda: len(claimed(one)) == 2)
    assert here(one, token) is older
    confirm(one)
    assert says(second)[1]["status"] == 200
    assert says(first) == (DISCONNECT, {"reason": "replaced"})
    assert unclaimed(one) == []
    assert one.deliveries.claims.mine == {token: Claim(token, newer.binding, A)}


def test_of_two_that_await_one_claim_the_newer_stays(hosts, token):
    one, _ = hosts
    ends = [one.connect()[0] for _ in range(2)]
    for end in ends:
        end.say(SUB, {"token": token.decode()})
        turns()
    confirm(one)
    assert says(ends[0]) == (DISCONNECT, {"reason": "replaced"})
    assert says(ends[1])[1]["status"] == 200


def test_a_newer_client_that_goes_gives_the_claim_back_to_the_older(hosts, token):
    one, _ = hosts
    first, older = bound(one, token)
    second, _ = one.connect()
    second.say(SUB, {"token": token.decode()})
    until(lambda: len(claimed(one)) == 2)
    second.close()
    until(lambda: len(claimed(one)) == 3)
    assert claimed(one)[-1] == Claim(token, older.binding, A)
    assert unclaimed(one) == []  # the routers go by the last claim
    assert one.push((token, b"x")) == [Outcome.SENT]
    assert first.packet().body == b"x"


def test_a_token_of_another_uid_is_refused_before_it_is_claimed(worker, token):
    one, far = worker(A, open_subscribe="no"), worker(FAR)
    one.ring(1, [one, far])
    _, connection = bound(one, token)
    connection.login = Login("ann", [token], 1 << 40)
    end, _ = one.connect()
    end.say(SUB, {"token": token.decode()})
    assert says(end)[1]["status"] == 403
    assert len(claimed(one)) == 1


def test_a_router_that_asks_is_told_all_claims_behind_ready(hosts, token):
    one, _ = hosts
    bound(one, token)
    one.said.clear()
    one.hear(bus.encode_control(bus.WHO1, {}))
    assert [frames[0] for frames in one.said] == [bus.READY1, CLAIM1]
    assert one.heard(bus.READY1)[0]["claims"] == 1
    assert claimed(one) == list(one.deliveries.claims.mine.values())


# --- a change of the ring


def test_clients_that_a_ring_gives_to_another_host_are_claimed_at_once(worker):
    """Also before the fences: their pushes go by the ring or by the claim, but to this worker."""
    one, far = worker(A, routers=2), worker(FAR)
    one.alive(0, 1)
    for router in range(2):
        one.ring(1, [one], router=router)
    tokens = [b"c%d" % at for at in range(300)]
    ends = [one.bound(token)[0] for token in tokens]
    one.ring(2, [one, far])
    theirs = {token for token in tokens if one.ownership.owner(token) == FAR}
    until(lambda: {claim.token for claim in claimed(one)} == theirs)
    assert len(claimed(one)) == len(theirs) > 100
    assert all(one.push((token, b"x")) == [Outcome.SENT] for token in tokens)
    assert all(end.packet().body == b"x" for end in ends)


def test_a_claim_ends_when_the_ring_makes_this_worker_the_owner(hosts, token):
    one, _ = hosts
    _, connection = bound(one, token)
    one.ring(2, [one])
    until(lambda: unclaimed(one))
    assert unclaimed(one) == [Claim(token, connection.binding, A)]
    assert one.push((token, b"x")) == [Outcome.SENT]


def test_claimed_clients_go_to_an_owner_of_this_host_and_then_the_claim_ends(worker):
    one, other, far = worker(A), worker(B), worker(FAR)
    token = token_of(FAR, [A, B, FAR], ([A, B], B))
    for parts in (one, other):
        parts.ring(1, [one, other, far])
    settled_but_far(one, other)
    end, connection = bound(one, token)
    claim = Claim(token, connection.binding, A)
    tell(2, [one, other])
    until(lambda: here(other, token))
    until(lambda: unclaimed(one) == [claim])
    assert (here(other, token).binding, here(other, token).bound_by, here(other, token).moves) == (*claim[1:3], 1)
    assert other.push((token, b"x")) == [Outcome.SENT]
    assert end.packet().body == b"x"


def settled_but_far(*workers):
    for parts in workers:
        parts.advance(3)
    settled(*workers)


@pytest.fixture
def leaving(worker):
    """(leaving worker, the one that has its claimed client now, token, client's end, the leaving one's claim)."""
    one, other, far = worker(A, routers=2), worker(B), worker(FAR)
    one.alive(0, 1)
    token = token_of(FAR, [A, B, FAR], [B, FAR])
    for router in range(2):
        one.ring(1, [one, other, far], router=router)
    other.ring(1, [one, other, far])
    settled_but_far(one, other)
    end, connection = one.connect()
    end.say(SUB, {"token": token.decode()})
    until(lambda: claimed(one))
    confirm(one, 0, 1)
    assert says(end)[1]["status"] == 200
    one.landing.leaving = True
    for router in range(2):
        one.ring(2, [other, far], [one], router=router)
    other.ring(2, [other, far], [one])
    until(lambda: here(other, token))
    until(lambda: claimed(other))
    return one, other, token, end, Claim(token, connection.binding, A)


def test_a_leaving_workers_claim_ends_when_all_routers_have_that_of_the_one_that_has_taken_the_client(leaving):
    one, other, token, end, claim = leaving
    assert claimed(other) == [claim._replace(moves=1)]
    until(lambda: not one.landing.hand_overs.count)
    assert one.push((token, b"w")) == [bus.HELD]  # by its claim, which the routers may know still
    assert not one.landing.empty
    taken(one, *claim[:3], moves=1, router=0)
    one.advance(2)
    assert unclaimed(one) == []
    assert one.push((token, b"w"), router=1) == [bus.HELD]
    taken(one, *claim[:3], moves=1, router=1)
    assert one.late() == [(1, 0, STALE)]
    assert one.late(router=1) == [(2, 0, STALE)]
    assert unclaimed(one) == [claim]  # which is void by then
    assert not one.landing.empty
    confirm(one, 0, 1)
    assert one.landing.empty
    assert other.push((token, b"x")) == [Outcome.SENT]
    assert end.packet().body == b"x"


def test_the_routers_may_say_so_before_the_other_worker_does(leaving):
    one, _, token, _, claim = leaving
    under_way = one.landing.hand_overs.count  # nearly always: the other has only just taken it
    for router in range(2):
        taken(one, *claim[:3], moves=1, router=router)
    assert one.push((token, b"w")) == [bus.HELD if under_way else STALE]
    until(lambda: not one.landing.hand_overs.count)
    assert one.late() == [(1, 0, STALE)][: bool(under_way)]
    assert unclaimed(one) == [claim]


def test_what_a_router_says_of_an_earlier_holder_does_not_end_a_claim(leaving):
    one, _, token, _, claim = leaving
    until(lambda: not one.landing.hand_overs.count)
    for router in range(2):
        taken(one, *claim[:3], router=router)
    assert one.push((token, b"w")) == [bus.HELD]


def test_a_router_that_is_not_heard_is_not_waited_for(leaving):
    one, _, _, _, claim = leaving
    until(lambda: not one.landing.hand_overs.count)
    taken(one, *claim[:3], moves=1)
    one.advance(3, silent={1})
    assert unclaimed(one) == [claim]


def test_a_claim_that_nobody_takes_over_ends_in_time(leaving):
    one, _, token, _, claim = leaving
    until(lambda: not one.landing.hand_overs.count)
    assert one.push((token, b"w")) == [bus.HELD]
    one.advance(one.settings.move_timeout_s - 1)
    assert unclaimed(one) == []
    one.advance()
    assert unclaimed(one) == [claim]
    assert one.late() == [(1, 0, STALE)]


def test_a_claim_is_not_needed_when_a_ring_gives_the_token_to_this_host(leaving):
    one, other, _, _, claim = leaving
    until(lambda: not one.landing.hand_overs.count)
    one.ring(3, [other], [one])
    one.advance()
    assert unclaimed(one) == []  # that router sends by the older ring
    one.ring(3, [other], [one], router=1)
    one.advance()
    assert unclaimed(one) == [claim]


def test_one_that_comes_back_when_its_claim_is_lost_is_claimed_again(hosts, token):
    """The routers tell then who has taken its token."""
    one, _ = hosts
    end, connection = bound(one, token)
    one.landing.hand_overs.give(connection, B)  # which is not there
    taken(one, token, connection.binding + 1)
    until(lambda: len(claimed(one)) == 2)
    assert claimed(one) == [Claim(token, connection.binding, A)] * 2
    taken(one, token, connection.binding + 1)
    assert says(end) == (DISCONNECT, {"reason": "replaced"})


def test_a_leaving_worker_gives_nothing_to_another_host(hosts):
    one, far = hosts
    _, connection = one.connect()
    token = token_of(A, [A, FAR], ([FAR], FAR))
    one.bound(token)
    one.landing.leaving = True
    one.ring(2, [far], [one])
    one.advance()
    turns()
    assert one.ownership.others == []
    assert one.landing.out
    assert one.loop.table.holds(connection)
    assert here(one, token)
    assert one.landing.hand_overs._links == {}


# --- an owner that refuses


def refused(one, other, count):
    until(lambda: one.landing._refusals and max(one.landing._refusals.values()) >= count)


@pytest.mark.parametrize("asks", [True, False], ids=["asking", "bound"])
def test_a_client_that_its_owner_keeps_refusing_is_kept_and_claimed_until_the_next_ring(worker, asks):
    one, other = worker(A), worker(B)
    token = token_of(B, ([A], A), [A, B])
    if not asks:
        one.ring(1, [one])
        end, connection = one.bound(token)
    one.ring(2, [one, other])
    if asks:
        end, connection = one.connect()
        end.say(SUB, {"token": token.decode()})
    refused(one, other, 50)  # the other has heard of no ring
    until(lambda: claimed(one))
    confirm(one)
    if asks:
        assert says(end)[1]["status"] == 200
    until(lambda: here(one, token) is connection and not one.landing.moving.scanning)
    assert one.push((token, b"x")) == [Outcome.SENT]
    assert end.packet().body == b"x"
    assert one.landing.moving.told == (1, 2)
    tell(3, [one, other])
    until(lambda: here(other, token))
    until(lambda: unclaimed(one) == [Claim(token, connection.binding, A)])
    settled(one, other)
    assert other.push((token, b"y")) == [Outcome.SENT]
    assert end.packet().body == b"y"


# --- claims of others


def test_an_owner_whose_client_has_come_up_elsewhere_closes_its_own(hosts, mine):
    one, _ = hosts
    end, connection = one.bound(mine)
    taken(one, mine, connection.binding + 1)
    assert says(end) == (DISCONNECT, {"reason": "replaced"})
    assert one.push((mine, b"x")) == [STALE]
    freed(one, mine, connection.binding + 1)
    assert one.push((mine, b"x")) == [STALE]  # the first is on its way back still
    one.hear(bus_rings.encode_ring(one.ownership.news, fence=[slot_of(mine)]))  # the router has routed it again
    assert one.push((mine, b"x")) == [Outcome.OFFLINE]


def test_what_was_under_way_behind_a_push_that_went_back_goes_back_too(hosts, mine):
    """Though its client is here by then: else it would overtake the first."""
    one, _ = hosts
    taken(one, mine, 5)
    assert one.push((mine, b"1")) == [STALE]
    freed(one, mine, 5)
    end, _ = one.bound(mine)
    assert one.push((mine, b"2")) == [STALE]
    one.hear(bus_rings.encode_ring(one.ownership.news))  # sent before the router knew
    assert one.push((mine, b"2")) == [STALE]
    one.hear(bus_rings.encode_ring(one.ownership.news, fence=[slot_of(mine)]))
    assert one.push((mine, b"1"), (mine, b"2")) == [Outcome.SENT] * 2
    assert [end.packet().body for _ in range(2)] == [b"1", b"2"]


def test_a_fence_for_other_slots_ends_nothing(hosts, mine):
    one, _ = hosts
    taken(one, mine, 5)
    assert one.push((mine, b"1")) == [STALE]
    freed(one, mine, 5)
    one.hear(bus_rings.encode_ring(one.ownership.news, fence=[slot_of(mine) ^ 1]))
    assert one.push((mine, b"1")) == [STALE]
    one.hear([bus.RING1, b'{"epoch":[1,1],"live":{},"leaving":{},"fence":true}'])
    assert one.counters["bus_errors"] == 1


@pytest.mark.parametrize("known", [True, False])
def test_a_router_that_has_started_anew_knows_of_nothing_that_went_back(hosts, mine, known):
    one, _ = hosts
    taken(one, mine, 5)
    assert one.push((mine, b"1")) == [STALE]
    freed(one, mine, 5)
    one.hear(bus.encode_control(bus.WHO1, {"known": True} if known else {}))
    assert one.push((mine, b"1")) == [STALE if known else Outcome.OFFLINE]


def test_a_router_that_never_says_so_is_not_waited_for(hosts, mine):
    one, _ = hosts
    taken(one, mine, 5)
    assert one.push((mine, b"1")) == [STALE]
    freed(one, mine, 5)
    one.advance(40)
    assert one.push((mine, b"1")) == [Outcome.OFFLINE]


def test_a_router_that_knows_all_claims_ends_what_it_does_not_tell(hosts, mine):
    """The claim ended while no router was there to say so."""
    one, _ = hosts
    taken(one, mine, 5)
    one.hear(bus_claims.encode_claims(bus.TAKEN1, [], whole=True))
    assert one.push((mine, b"1")) == [Outcome.OFFLINE]


@pytest.mark.parametrize(("by", "wins"), [("g/0", False), ("i/0", True)])
def test_of_two_equal_bindings_the_greater_name_wins(hosts, mine, by, wins):
    one, _ = hosts
    _, connection = one.bound(mine)
    taken(one, mine, connection.binding, by)
    turns()
    assert (here(one, mine) is None) == wins
    assert [claim.bound_by for claim in claimed(one)] == ([] if wins else [A])


def test_an_owner_with_the_greater_binding_claims_it_itself(hosts, mine):
    one, _ = hosts
    _, connection = one.bound(mine)
    taken(one, mine, connection.binding - 1)
    until(lambda: claimed(one))
    assert claimed(one) == [Claim(mine, connection.binding, A)]
    assert one.push((mine, b"x")) == [Outcome.SENT]
    taken(one, mine, connection.binding - 1)
    turns()
    assert len(claimed(one)) == 1


def test_an_owner_is_told_late_of_a_claim_for_a_client_that_it_has_been_given(hosts, mine):
    one, _ = hosts
    _, connection = one.bound(mine)
    connection.moves = 1
    taken(one, mine, connection.binding, A)
    turns()
    assert claimed(one) == []
    assert one.push((mine, b"x")) == [Outcome.SENT]


def test_ones_own_claim_is_no_news(hosts, token):
    one, _ = hosts
    _, connection = bound(one, token)
    taken(one, token, connection.binding, A)
    assert one.push((token, b"x")) == [Outcome.SENT]


def test_a_claimed_client_that_has_lost_is_replaced(hosts, token):
    one, _ = hosts
    end, connection = bound(one, token)
    taken(one, token, connection.binding + 1)
    assert says(end) == (DISCONNECT, {"reason": "replaced"})
    until(lambda: unclaimed(one))  # another router may hear of this claim behind the other
    assert unclaimed(one) == [Claim(token, connection.binding, A)]
    assert one.deliveries.claims.foreign == {}  # that is the owner's to know


def test_of_two_that_have_lost_both_are_replaced(hosts, token):
    one, _ = hosts
    first, _ = bound(one, token)
    second, newer = one.connect()
    second.say(SUB, {"token": token.decode()})
    until(lambda: len(claimed(one)) == 2)
    taken(one, token, newer.binding + 1)  # it tries once again
    taken(one, token, newer.binding + 9)
    for end in (first, second):
        assert says(end) == (DISCONNECT, {"reason": "replaced"})
    turns()
    assert not one.deliveries.claims.mine
    assert not one.deliveries.claims.pending


def test_pushes_held_for_a_client_that_turns_out_to_be_elsewhere_are_stale(worker, mine):
    one, far = worker(A), worker(FAR)
    one.ring(1, [one, far])
    assert one.push((mine, b"x")) == [bus.HELD]
    taken(one, mine, 5)
    assert one.late() == [(1, 0, STALE)]
    one.advance(3)
    assert one.push((mine, b"x")) == [STALE]


def test_an_owner_waits_a_moment_for_the_claims_of_other_hosts(worker, mine):
    one, far = worker(A), worker(FAR)
    one.ring(1, [one, far])
    assert one.push((mine, b"x")) == [bus.HELD]
    one.advance(2)
    assert one.late() == [(1, 0, Outcome.OFFLINE)]
    assert one.push((mine, b"x")) == [Outcome.OFFLINE]
    assert one.counters["moves_timed_out"] == 0


def test_a_client_that_returns_to_the_owner_gets_a_greater_binding_and_is_claimed(hosts, mine):
    one, _ = hosts
    taken(one, mine, 1 << 50)
    end, _ = one.connect()
    end.say(SUB, {"token": mine.decode()})
    until(lambda: claimed(one))
    assert claimed(one) == [Claim(mine, (1 << 50) + 1, A)]
    confirm(one)
    assert says(end)[1]["status"] == 200
    assert one.push((mine, b"x")) == [Outcome.SENT]
    end.close()
    until(lambda: unclaimed(one))
    freed(one, mine, 1 << 50)
    assert one.push((mine, b"x")) == [Outcome.OFFLINE]


def test_one_that_loses_before_it_is_answered_tries_once_again(hosts, token):
    """It is the newest, whatever the other host's clock says."""
    one, _ = hosts
    end, _ = one.connect()
    end.say(SUB, {"token": token.decode()})
    until(lambda: claimed(one))
    taken(one, token, 1 << 50)
    confirm(one)  # of the claim that has lost
    until(lambda: len(claimed(one)) == 2)
    assert claimed(one)[1] == Claim(token, (1 << 50) + 1, A)
    assert end.quiet()
    taken(one, token, 1 << 51)
    assert says(end) == (DISCONNECT, {"reason": "replaced"})


def test_what_others_have_is_forgotten_with_the_slot(worker):
    one, other, far = worker(A), worker(B), worker(FAR)
    token = token_of(A, [A, FAR], ([A, B, FAR], B))
    one.ring(1, [one, far])
    one.advance(3)
    taken(one, token, 5)
    one.ring(2, [one, other, far])
    assert one.deliveries.claims.foreign == {}
    assert one.push((token, b"x")) == [STALE]


def test_a_client_that_arrives_though_another_has_its_token(worker):
    one, other = worker(A), worker(B)
    token = token_of(B, ([A], A), [A, B])
    tell(1, [one])
    end, connection = one.bound(token)
    other.ring(2, [one, other])
    taken(other, token, connection.binding + 1)
    one.ring(2, [one, other])
    assert says(end) == (DISCONNECT, {"reason": "replaced"})
    settled(one, other)
    assert here(other, token) is None
    assert other.push((token, b"x")) == [STALE]


def test_clients_taken_over_from_one_that_had_claims_are_claimed_again(worker, token):
    one, far = worker(A), worker(FAR)
    _, connection = one.connect()
    connection.token, connection.state, connection.binding, connection.bound_by = token, State.BOUND, 7, A
    one.landing.taken_over(connection, claimed=True)
    one.handlers.say_ready(0)
    assert one.heard(bus.READY1)[0]["claims"] == 1
    assert claimed(one) == [Claim(token, 7, A)]
    one.ring(1, [one, far])
    settled_but_far(one)
    assert unclaimed(one) == []
    one.hear(ring(2, [one]))
    until(lambda: unclaimed(one) == [Claim(token, 7, A)])


def test_a_successor_knows_of_claims_from_the_first_on(hosts, token):
    """Before any tick: else the routers would take what it does not announce for ended."""
    one, _ = hosts
    assert not one.loop.ledger._read_own().get("claims")
    bound(one, token)
    assert one.loop.ledger._read_own()["claims"] is True


@pytest.mark.parametrize("kind", [bus.CLAIMED1, bus.TAKEN1, bus.FREED1])
def test_malformed_messages(hosts, kind):
    one, _ = hosts
    for frames in ([kind], [kind, b"{}"], [kind, b'{"claims":[[1]]}'], [kind, bytes(8), b"[]"]):
        one.hear(frames)
    assert one.counters["bus_errors"] == 4


def test_claims_for_numbers_that_nobody_knows(hosts):
    one, _ = hosts
    one.hear(bus.encode_numbered(bus.CLAIMED1, 77, {}))
    assert one.ownership.epoch == Epoch(1, 1)


def test_a_push_routed_by_an_older_ring_than_this_workers_goes_back(hosts, mine):
    """Two halves of a fleet that meet again: by the ring of both the token may be another's, who has its client."""
    one, _ = hosts
    older = one.ownership.epoch
    one.hear(
        bus_rings.encode_ring(bus_rings.RingNews(Epoch(older.started_ms, older.counter + 1), {one.name: one.path}, {}))
    )
    until(lambda: one.ownership.is_settled(mine))
    assert one.push((mine, b"x")) == [Outcome.OFFLINE]
    segment = bus.Segment(1, 0, bytes(16), 4, 0)
    index = [bus.ENTRY.pack(len(mine), 1, 0)]
    one.hear(bus.encode_batch(older, 99, [segment], index, [mine + b"x"]))
    assert (99, bytes((STALE,))) in one.heard(bus.OUTCOMES1, bus.decode_outcomes)
