"""Claims: whose a token is when its holder does not own it, and who is told."""

import pytest
import ujson

from shared import bus, bus_claims
from shared.bus_claims import Claim
from shared.tokens import slot_of
from tests.router.driven_core import DrivenCore, tokens_of

TWO = ("h/0", "h/1")
(TOKEN,) = tokens_of("h/0", TWO, 1)
SENT, UNAVAILABLE, UNKNOWN = bytes([0]), bytes([7]), bytes([10])


def claim(fleet: DrivenCore, worker: str, *claims: Claim, number: int = 1) -> None:
    fleet.say(worker, bus_claims.encode_claims(bus.CLAIM1, claims, number))


def unclaim(fleet: DrivenCore, worker: str, *claims: Claim) -> None:
    fleet.say(worker, bus_claims.encode_claims(bus.UNCLAIM1, claims))


def told(fleet: DrivenCore, worker: str, kind: bytes = bus.TAKEN1) -> list[Claim]:
    """Claims that a worker was told of, since the last call."""
    found = [
        claim
        for frames in fleet.messages(kind, worker)
        for claim in bus_claims.decode_claims(bus.decode_control(frames))
    ]
    fleet.to_workers = [message for message in fleet.to_workers if message[0] != worker or message[1][0] != kind]
    return found


def goes_to(fleet: DrivenCore, token: bytes = TOKEN) -> str:
    fleet.push(b"r", token)
    (sent,) = fleet.sent()
    fleet.outcomes(sent)
    assert fleet.answer()[2] == SENT
    return sent.worker


def test_a_claimed_token_goes_to_its_claimant_until_it_is_freed() -> None:
    fleet = DrivenCore(*TWO)
    mine = Claim(TOKEN, 5, "h/1")
    claim(fleet, "h/1", mine, number=77)
    assert fleet.messages(bus.CLAIMED1, "h/1") == [bus.encode_numbered(bus.CLAIMED1, 77, {})]
    assert told(fleet, "h/0") == [mine]
    assert goes_to(fleet) == "h/1"
    unclaim(fleet, "h/1", Claim(TOKEN, 4, "h/1"), Claim(b"other", 5, "h/1"))
    unclaim(fleet, "h/0", mine)
    assert goes_to(fleet) == "h/1"
    unclaim(fleet, "h/1", mine)
    assert told(fleet, "h/0", bus.FREED1) == [mine]
    assert goes_to(fleet) == "h/0"


def test_find_and_kick_go_by_claims() -> None:
    fleet = DrivenCore(*TWO)
    claim(fleet, "h/1", Claim(TOKEN, 5, "h/1"))
    fleet.ask(b"FIND1", b"q", TOKEN)
    assert len(fleet.messages(bus.CALL1, "h/1")) == 1
    assert fleet.messages(bus.CALL1, "h/0") == []


@pytest.mark.parametrize("second", [Claim(TOKEN, 6, "h/0"), Claim(TOKEN, 5, "h/9")])
def test_the_greater_claim_wins_and_the_loser_is_told(second: Claim) -> None:
    fleet = DrivenCore("h/0", "h/1", "h/2", "h/3")
    owner = fleet.core.parts.membership.owners[slot_of(TOKEN)]
    one, other = [name for name in ("h/1", "h/2", "h/3") if name != owner][:2]
    first = Claim(TOKEN, 5, "h/5")
    claim(fleet, one, first)
    assert told(fleet, owner) == [first]
    claim(fleet, other, second)
    assert told(fleet, one) == [second]
    assert told(fleet, owner) == [second]
    claim(fleet, one, first)  # it comes too late, and is told so
    assert told(fleet, one) == [second]
    assert told(fleet, other) == told(fleet, owner) == []
    assert goes_to(fleet) == other


def test_of_two_holders_of_one_client_the_later_outranks_the_earlier() -> None:
    """Whatever the earlier one said comes late by a slow link: it changes nothing."""
    fleet = DrivenCore("h/0", "h/1", "h/2")
    owner = goes_to(fleet)
    one, other = [name for name in ("h/0", "h/1", "h/2") if name != owner]
    first, moved = Claim(TOKEN, 5, one), Claim(TOKEN, 5, one, 1)
    claim(fleet, one, first)
    claim(fleet, other, moved)
    assert told(fleet, one) == [moved]
    assert told(fleet, owner) == [first, moved]
    claim(fleet, one, first)
    assert told(fleet, one) == [moved]
    assert goes_to(fleet) == other
    unclaim(fleet, one, first)
    assert goes_to(fleet) == other
    unclaim(fleet, other, first)
    assert goes_to(fleet) == other
    assert told(fleet, owner, bus.FREED1) == told(fleet, owner) == []
    claim(fleet, one, moved._replace(moves=2))  # it has come back
    assert goes_to(fleet) == one


def test_of_two_equal_claims_the_first_stays() -> None:
    fleet = DrivenCore("h/0", "h/1", "h/2")
    owner = goes_to(fleet)
    one, other = [name for name in ("h/0", "h/1", "h/2") if name != owner]
    claim(fleet, one, Claim(TOKEN, 5, one))
    claim(fleet, other, Claim(TOKEN, 5, one))
    assert told(fleet, other) == [Claim(TOKEN, 5, one)]
    assert goes_to(fleet) == one


def test_of_one_workers_claims_the_last_is_in_force() -> None:
    """A newer client has gone before it was bound, and left the token to the older one."""
    fleet = DrivenCore(*TWO)
    newer, older = Claim(TOKEN, 6, "h/1"), Claim(TOKEN, 5, "h/1")
    claim(fleet, "h/1", newer)
    claim(fleet, "h/1", older)
    unclaim(fleet, "h/1", newer)
    assert goes_to(fleet) == "h/1"
    kinds = [frames[0] for name, frames in fleet.to_workers if name == "h/0"]
    assert [kind for kind in kinds if kind in (bus.TAKEN1, bus.FREED1)][-3:] == [bus.TAKEN1, bus.FREED1, bus.TAKEN1]
    assert told(fleet, "h/0") == [newer, older]
    assert told(fleet, "h/0", bus.FREED1) == [newer]
    unclaim(fleet, "h/1", older)
    assert goes_to(fleet) == "h/0"


def test_claims_on_the_wire() -> None:
    """The number of moves is a fourth element; what more there is belongs to a newer version."""
    fleet = DrivenCore(*TWO)
    body = {"claims": [[TOKEN.decode(), 5, "h/1"]]}
    fleet.say("h/1", [bus.CLAIM1, bytes(8), ujson.dumps(body).encode()])
    assert told(fleet, "h/0") == [Claim(TOKEN, 5, "h/1", 0)]
    body = {"claims": [[TOKEN.decode(), 5, "h/1", 3, "new"]]}
    fleet.say("h/1", [bus.CLAIM1, bytes(8), ujson.dumps(body).encode()])
    assert told(fleet, "h/0") == [Claim(TOKEN, 5, "h/1", 3)]


def test_a_new_ring_tells_new_owners_behind_the_ring() -> None:
    fleet = DrivenCore("h/0", "h/1")
    tokens = [b"t%d" % number for number in range(50)]
    claims = [Claim(token, 1, "h/1") for token in tokens]
    claim(fleet, "h/1", *claims)
    fleet.join("h/2")
    gained = told(fleet, "h/2")
    owners = fleet.core.parts.membership.owners
    assert {claim.token for claim in gained} == {t for t in tokens if owners[slot_of(t)] == "h/2"}
    fleet.join("h/2", incarnation="b")
    assert sorted(told(fleet, "h/2")) == sorted(gained)
    fleet.join("h/2", incarnation="b")
    assert told(fleet, "h/2") == []


def test_an_owner_is_told_that_these_are_all_when_every_worker_has_told_its_claims() -> None:
    """Until then it remembers what an earlier router has told it: such a claim may be in force."""
    ring = {"epoch": [1, 1], "live": {name: f"/run/{name}.sock" for name in TWO}, "leaving": {}}
    fleet = DrivenCore(ring_settle_ms=1000, workers=2)
    fleet.join("h/0", ring=ring)
    fleet.advance(1.1)  # h/1 has been stopped, and the router has just started
    whole = [bool(bus.decode_control(frames).get("whole")) for frames in fleet.messages(bus.TAKEN1, "h/0")]
    assert whole == [False]
    fleet.join("h/1", claims=1)
    fleet.advance(0.5)
    claim(fleet, "h/1", Claim(TOKEN, 5, "h/1"))
    fleet.to_workers.clear()
    fleet.advance(0.5)
    (frames,) = fleet.messages(bus.TAKEN1, "h/0")
    assert bus.decode_control(frames)["whole"] is True
    assert told(fleet, "h/0") == [Claim(TOKEN, 5, "h/1")]
    fleet.advance(0.5)
    assert told(fleet, "h/0") == []


def test_an_owner_that_was_away_is_told_which_claims_there_are() -> None:
    """What has ended meanwhile nobody told it."""
    fleet = DrivenCore(*TWO, worker_timeout_ms=2000)
    first, second = [Claim(token, 5, "h/1") for token in tokens_of("h/0", TWO, 2)]
    claim(fleet, "h/1", first)
    for _ in range(6):
        fleet.advance(0.5)
        fleet.say("h/1", bus.encode_control(bus.BEAT1, {}))
    unclaim(fleet, "h/1", first)
    claim(fleet, "h/1", second)
    fleet.to_workers.clear()
    fleet.join("h/0")
    (frames,) = fleet.messages(bus.TAKEN1, "h/0")
    assert bus.decode_control(frames)["whole"] is True
    assert told(fleet, "h/0") == [second]


def test_claims_go_with_a_worker_that_is_lost_or_leaves() -> None:
    for goes in ("lost", "gone"):
        fleet = DrivenCore(*TWO, worker_timeout_ms=2000)
        claim(fleet, "h/1", Claim(TOKEN, 5, "h/1"))
        if goes == "gone":
            fleet.say("h/1", bus.encode_control(bus.BYE1, {"gone": True}))
        else:
            for _ in range(11):
                fleet.advance(0.5)
                fleet.say("h/0", bus.encode_control(bus.BEAT1, {}))
        assert not fleet.core.parts.claims.by_token
        assert [claim.token for claim in told(fleet, "h/0", bus.FREED1)] == [TOKEN]
        assert goes_to(fleet) == "h/0"


def test_claims_of_a_new_incarnation_replace_those_of_the_old_one_when_all_have_come() -> None:
    fleet = DrivenCore(*TWO)
    claims = [Claim(token, 5, "h/1") for token in tokens_of("h/0", TWO, 4)]
    claim(fleet, "h/1", *claims)
    fleet.join("h/1", incarnation="b", claims=2)
    assert len(fleet.core.parts.claims.by_token) == 4
    claim(fleet, "h/1", claims[0])
    assert len(fleet.core.parts.claims.by_token) == 4
    claim(fleet, "h/1", claims[1]._replace(binding=6))
    assert fleet.core.parts.claims.by_token.keys() == {each.token for each in claims[:2]}
    assert sorted(told(fleet, "h/0", bus.FREED1)) == sorted(claims[2:])
    fleet.join("h/1", incarnation="c")
    assert not fleet.core.parts.claims.by_token


def test_what_a_worker_does_not_repeat_goes_also_if_it_is_the_same_incarnation() -> None:
    """Whatever was said of it has been lost; READY1 tells all that there is."""
    fleet = DrivenCore(*TWO)
    claims = [Claim(token, 5, "h/1") for token in tokens_of("h/0", TWO, 2)]
    claim(fleet, "h/1", *claims)
    fleet.join("h/1", claims=1)
    claim(fleet, "h/1", claims[1])
    assert fleet.core.parts.claims.by_token.keys() == {claims[1].token}
    assert told(fleet, "h/0", bus.FREED1) == [claims[0]]


def test_claims_that_are_announced_and_do_not_come_are_waited_for_a_second() -> None:
    fleet = DrivenCore(*TWO)
    claims = [Claim(token, 5, "h/1") for token in tokens_of("h/0", TWO, 3)]
    claim(fleet, "h/1", *claims)
    fleet.join("h/1", incarnation="b", claims=9)
    fleet.advance(0.8)
    claim(fleet, "h/1", claims[0])  # a second from now
    fleet.advance(0.8)
    assert len(fleet.core.parts.claims.by_token) == 3
    fleet.advance(1.5)
    assert fleet.core.parts.claims.by_token.keys() == {claims[0].token}


def test_a_pause_of_the_router_is_not_held_against_claims() -> None:
    fleet = DrivenCore(*TWO)
    mine = Claim(TOKEN, 5, "h/1")
    claim(fleet, "h/1", mine)
    fleet.join("h/1", incarnation="b", claims=1)
    fleet.now += 3
    fleet.core.tick(fleet.now)
    claim(fleet, "h/1", mine)
    fleet.advance(3)
    assert goes_to(fleet) == "h/1"


def test_a_claimant_that_lets_a_push_come_back_is_asked_what_it_has() -> None:
    fleet = DrivenCore(*TWO)
    claim(fleet, "h/1", Claim(TOKEN, 5, "h/1"))
    fleet.advance(1)
    fleet.to_workers.clear()
    fleet.push(b"r", TOKEN)
    fleet.outcomes(fleet.sent()[0], bytes([bus.STALE]))
    assert fleet.answer()[2] == UNAVAILABLE
    assert len(fleet.messages(bus.WHO1, "h/1")) == 1
    fleet.join("h/1", claims=0)
    assert goes_to(fleet) == "h/0"


def test_a_new_router_waits_for_the_claims_that_are_announced() -> None:
    for comes in (True, False):
        fleet = DrivenCore(ring_settle_ms=1000, workers=2)
        fleet.join("h/0")
        fleet.join("h/1", claims=1)
        fleet.push(b"r", TOKEN)
        assert fleet.sent() == []
        assert fleet.rings("h/0") == []
        if comes:
            claim(fleet, "h/1", Claim(TOKEN, 5, "h/1"))
            assert fleet.sent()[0].worker == "h/1"
        else:
            fleet.advance(1.1)
            assert fleet.sent()[0].worker == "h/0"


def test_pushes_behind_a_claim_wait_for_those_before_it() -> None:
    """h/0 owns the token; the client is bound at h/1 while a push is on its way to h/0."""
    fleet = DrivenCore(*TWO)
    fleet.push(b"r1", TOKEN)
    (first,) = fleet.sent()
    claim(fleet, "h/1", Claim(TOKEN, 5, "h/1"))
    fleet.push(b"r2", TOKEN)
    assert fleet.sent() == []
    fleet.outcomes(first, bytes([bus.STALE]))
    (again,) = fleet.sent()
    assert (again.worker, len(again.pushes)) == ("h/1", 2)
    fleet.outcomes(again)
    assert [frames[1] for frames in fleet.answers()] == [b"r1", b"r2"]
    assert fleet.core.counters["pushes_rerouted"] == fleet.core.counters["pushes_parked"] == 1


@pytest.mark.parametrize(
    "body",
    [
        {}, {"claims": 1}, {"claims": [1]}, {"claims": [["", 1, "h/0"]]}, {"claims": [["a\n", 1, "h/0"]]},
        {"claims": [["a", -1, "h/0"]]}, {"claims": [["a", 1 << 63, "h/0"]]}, {"claims": [["a", 1, "\n"]]},
        {"claims": [["x" * 256, 1, "h/0"]]}, {"claims": [["a", 1, "h/0", -1]]}, {"claims": [["a", 1, "h/0", "x"]]},
    ],
)  # fmt: skip
def test_claims_that_are_none(body: dict[str, object]) -> None:
    fleet = DrivenCore(*TWO)
    fleet.say("h/0", [bus.CLAIM1, bytes(8), ujson.dumps(body).encode()])
    fleet.say("h/0", [bus.UNCLAIM1, ujson.dumps(body).encode()])
    assert fleet.core.counters["bus_errors"] == 2
    assert not fleet.core.parts.claims.by_token
    assert not fleet.messages(bus.CLAIMED1)


def test_many_claims_are_told_in_chunks() -> None:
    fleet = DrivenCore("h/0")
    claim(fleet, "h/0", *[Claim(b"t%d" % number, 1, "h/0") for number in range(5000)])
    fleet.join("h/1")
    sizes = [len(bus.decode_control(frames)["claims"]) for frames in fleet.messages(bus.TAKEN1, "h/1")]
    owners = fleet.core.parts.membership.owners
    assert sum(sizes) == sum(owners[slot_of(b"t%d" % number)] == "h/1" for number in range(5000))
    assert max(sizes) == 1000
    fleet.ask(b"STAT1", b"r")
    figures = ujson.loads(fleet.answer()[2])
    assert figures["workers"]["h/0"]["claims"] == figures["router"]["claims"] == 5000
