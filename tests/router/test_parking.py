"""STALE: pushes that come back are routed again, before everything that was sent after them."""

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import combinations
from unittest.mock import patch

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from shared import bus, bus_claims, bus_rings
from shared.bus_claims import Claim
from shared.bus_rings import RingNews
from shared.requests import DONE1
from shared.rings import Epoch, owners_of_slots
from shared.tokens import slot_of
from tests.router.driven_core import STARTED_MS, DrivenCore, Sent, push2, pushes_of, tokens_of

TWO = ("h/0", "h/1")
SENT, OFFLINE, UNAVAILABLE, UNKNOWN = bytes([0]), bytes([3]), bytes([7]), bytes([10])
STALE, HELD = bytes([bus.STALE]), bytes([bus.HELD])
MINE, OTHER = tokens_of("h/0", TWO, 2)
(STAYS,) = tokens_of("h/1", TWO, 1)


def leave(fleet: DrivenCore, worker: str = "h/0") -> None:
    fleet.say(worker, bus.encode_control(bus.BYE1, {"leaving": True}))


def payloads(sent: Sent) -> list[bytes]:
    return [payload for _, payload, _ in sent.pushes]


def ask(fleet: DrivenCore, number: int, *tokens: bytes, **options: object) -> None:
    pairs = [(token, b"%d.%d" % (number, at)) for at, token in enumerate(tokens)]
    fleet.ask(*push2(b"r%d" % number, pairs, **options))


def test_pushes_that_come_back_go_to_the_new_owner_before_later_ones() -> None:
    fleet = DrivenCore(*TWO)
    ask(fleet, 1, MINE, STAYS)
    ask(fleet, 2, MINE)
    batches = fleet.sent()
    leave(fleet)
    ask(fleet, 3, MINE, STAYS)
    first, stays, second = batches
    (flows,) = fleet.sent()
    assert payloads(flows) == [b"3.1"]  # its slot has not changed
    assert fleet.core.parts.pushes.parked == 1
    fleet.outcomes(second, STALE)  # the answers come in any order
    assert fleet.sent() == []
    fleet.outcomes(first, STALE)
    (again,) = fleet.sent()
    assert (again.worker, payloads(again)) == ("h/1", [b"1.0", b"2.0", b"3.0"])
    fleet.outcomes(again, SENT + OFFLINE + SENT)
    fleet.outcomes(stays)
    fleet.outcomes(flows)
    answers = {frames[1]: frames[2] for frames in fleet.answers()}
    assert answers == {b"r1": SENT + SENT, b"r2": OFFLINE, b"r3": SENT + SENT}
    assert fleet.core.counters["pushes_rerouted"] == 2
    assert fleet.core.counters["pushes_parked"] == 1


def test_a_held_push_may_come_back_late() -> None:
    fleet = DrivenCore(*TWO)
    ask(fleet, 1, MINE, MINE)
    (first,) = fleet.sent()
    fleet.outcomes(first, STALE + HELD)
    assert fleet.sent() == []
    leave(fleet)
    ask(fleet, 2, MINE)
    assert fleet.sent() == []
    fleet.late(first, (1, bus.STALE))
    (again,) = fleet.sent()
    assert payloads(again) == [b"1.0", b"1.1", b"2.0"]
    fleet.outcomes(again)
    assert [frames[2] for frames in fleet.answers()] == [SENT * 2, SENT]


def test_stale_before_the_ring_is_known_and_nothing_changes_is_unavailable() -> None:
    fleet = DrivenCore(*TWO)
    ask(fleet, 1, MINE)
    ask(fleet, 2, MINE, OTHER)
    first, second = fleet.sent()
    fleet.outcomes(first, STALE)
    assert fleet.answers() == []  # batch 2 may have some for the same slot
    fleet.outcomes(second, STALE + SENT)
    assert {frames[1]: frames[2] for frames in fleet.answers()} == {b"r1": UNAVAILABLE, b"r2": UNAVAILABLE + SENT}
    assert fleet.core.counters["pushes_rerouted"] == 0


def test_stale_to_the_same_worker_in_a_newer_epoch_is_tried_again() -> None:
    fleet = DrivenCore(*TWO)
    ask(fleet, 1, MINE)
    (first,) = fleet.sent()
    news = RingNews(Epoch(STARTED_MS + 1, 1), {name: f"/run/{name}.sock" for name in TWO}, {})
    fleet.say("h/0", bus_rings.encode_ring(news, bus.NEWS1))
    fleet.outcomes(first, STALE)
    (again,) = fleet.sent()
    assert (again.worker, again.batch.epoch) == ("h/0", news.epoch)


def test_time_is_over_while_it_waits() -> None:
    fleet = DrivenCore(*TWO)
    ask(fleet, 1, MINE, MINE, timeout_ms=500)
    (first,) = fleet.sent()
    fleet.outcomes(first, STALE + HELD)
    leave(fleet)
    ask(fleet, 2, MINE, timeout_ms=500)
    ask(fleet, 3, MINE, timeout_ms=5000)
    fleet.advance(0.6)
    assert {frames[1]: frames[2] for frames in fleet.answers()} == {b"r1": UNAVAILABLE + UNKNOWN, b"r2": UNAVAILABLE}
    (third,) = fleet.sent()  # nothing of the first request can come back any more
    assert payloads(third) == [b"3.0"]
    fleet.late(first, (1, bus.STALE))
    assert fleet.sent() == []


def test_a_worker_that_is_lost_sets_free_what_waits_for_it() -> None:
    fleet = DrivenCore(*TWO)
    ask(fleet, 1, MINE, MINE)
    (first,) = fleet.sent()
    fleet.outcomes(first, STALE + HELD)
    leave(fleet)
    ask(fleet, 2, MINE)
    fleet.join("h/0", incarnation="b", leaving=True)
    (again,) = fleet.sent()
    assert payloads(again) == [b"1.0", b"2.0"]
    fleet.outcomes(again)
    assert [frames[2] for frames in fleet.answers()] == [SENT + UNKNOWN, SENT]


def test_with_no_worker_left_what_came_back_is_unavailable() -> None:
    fleet = DrivenCore("h/0")
    ask(fleet, 1, MINE, MINE)
    (first,) = fleet.sent()
    fleet.outcomes(first, STALE + HELD)
    ask(fleet, 2, MINE)
    leave(fleet)
    assert fleet.answer()[1:3] == [b"r2", UNAVAILABLE]
    fleet.late(first, (1, bus.STALE))
    assert fleet.answer()[1:3] == [b"r1", UNAVAILABLE * 2]
    assert bus_rings.fenced_slots(fleet.messages(bus.RING1, "h/0")[-1]) == {slot_of(MINE)}


def test_stale_while_stopping_is_unavailable() -> None:
    fleet = DrivenCore(*TWO)
    ask(fleet, 1, MINE)
    (first,) = fleet.sent()
    fleet.core.stop(fleet.now)
    fleet.outcomes(first, STALE)
    assert fleet.answer()[2] == UNAVAILABLE


def test_a_retry_that_comes_back_keeps_unknown() -> None:
    fleet = DrivenCore(*TWO)
    fleet.hello(b"n")
    ask(fleet, 1, MINE, id="i", timeout_ms=100)
    fleet.advance(0.2)
    assert fleet.answer()[2] == UNKNOWN
    fleet.sent()
    ask(fleet, 1, MINE, id="i", timeout_ms=100)
    (again,) = fleet.sent()
    fleet.outcomes(again, STALE)
    fleet.advance(0.2)
    assert fleet.answer()[2] == UNKNOWN


def test_a_worker_that_let_a_push_come_back_gets_a_fence_before_anything_to_that_token() -> None:
    fleet = DrivenCore(*TWO)
    ask(fleet, 1, MINE)
    (first,) = fleet.sent()
    fleet.say("h/1", bus_claims.encode_claims(bus.CLAIM1, [Claim(MINE, 5, "h/1")], 1))
    fleet.say("h/1", bus_claims.encode_claims(bus.UNCLAIM1, [Claim(MINE, 5, "h/1")]))
    ask(fleet, 2, MINE)
    fleet.to_workers.clear()
    fleet.outcomes(first, STALE)
    assert [(name, frames[0]) for name, frames in fleet.to_workers] == [("h/0", bus.RING1), ("h/0", bus.PUSHES1)]
    assert bus_rings.fenced_slots(fleet.to_workers[0][1]) == {slot_of(MINE)}
    assert payloads(fleet.sent()[0]) == [b"1.0", b"2.0"]
    fleet.join("h/2")
    assert bus_rings.fenced_slots(fleet.messages(bus.RING1, "h/0")[-1]) == set()


def test_a_worker_that_lets_a_push_come_back_is_waited_for_though_its_slot_waits_for_another() -> None:
    """Two tokens of a slot, one of them claimed: they go to different workers."""
    fleet = DrivenCore(*TWO)
    other = next(token for token in (b"u%d" % n for n in range(100_000)) if slot_of(token) == slot_of(MINE))
    fleet.say("h/1", bus_claims.encode_claims(bus.CLAIM1, [Claim(MINE, 5, "h/1")], 1))
    ask(fleet, 1, other)
    ask(fleet, 2, MINE)
    ask(fleet, 3, MINE)
    owner, first, second = fleet.sent()
    claim = Claim(other, 5, "h/1")
    fleet.say("h/1", bus_claims.encode_claims(bus.CLAIM1, [claim], 1))
    fleet.outcomes(first, STALE)
    fleet.outcomes(owner)
    assert fleet.sent() == []
    fleet.outcomes(second, STALE)
    assert [(sent.worker, payloads(sent)) for sent in fleet.sent()] == [("h/1", [b"2.0", b"3.0"])]


# Everything at once

WORKERS = ("h/0", "h/1", "h/2")
TOKENS = tuple(b"t%d" % number for number in range(4))
RINGS = {
    frozenset(names): owners_of_slots(sorted(names)) for count in (1, 2, 3) for names in combinations(WORKERS, count)
}


@dataclass
class StandIn:
    """What a worker has been sent and not answered, in order; it answers its link's messages in that order.

    Among them, the slots of which a RING1 is a fence.
    """

    batches: list[Sent | frozenset[int]] = field(default_factory=list)
    held: list[tuple[Sent, int]] = field(default_factory=list)
    stale: set[bytes] = field(default_factory=set)  # came back since the router's last fence


class OrderMachine(RuleBasedStateMachine):
    """Rings and claims change, workers lag behind or run ahead; nothing is lost, doubled or overtaken.

    Who really has a client is `holder`. A worker delivers what it holds, and lets anything else come back or holds it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.patch = patch("router.membership.owners_of_slots", lambda live: list(RINGS[frozenset(live)]))
        self.patch.start()  # computing rings takes most of the time
        self.fleet = DrivenCore(*WORKERS, bus_window_batches=3, ring_settle_ms=0, worker_timeout_ms=600_000)
        self.stand_ins = {name: StandIn() for name in WORKERS}
        self.delivered: dict[bytes, list[int]] = defaultdict(list)
        self.outcomes: dict[int, int] = {}
        self.asked = 0
        self.claims: dict[bytes, tuple[str, Claim]] = {}
        self.live = set(WORKERS)
        self.incarnations = dict.fromkeys(WORKERS, 0)
        self.binding = 0
        for name in WORKERS:
            self.ready(name)
        self.look()

    def look(self) -> None:
        """Take what the router sent to workers, in order, and what it answered."""
        for name, frames in self.fleet.to_workers:
            stand_in = self.stand_ins[name]
            if frames[0] == bus.RING1:
                stand_in.batches.append(bus_rings.fenced_slots(frames))
            elif frames[0] == bus.PUSHES1:
                batch = bus.decode_batch(frames)
                stand_in.batches.append(Sent(name, batch, pushes_of(batch)))
        self.fleet.to_workers.clear()
        for command, request_id, outcomes, *_ in self.fleet.answers():
            assert command == DONE1
            assert int(request_id) not in self.outcomes, "answered twice"
            assert len(outcomes) == 1
            assert outcomes[0] != bus.STALE
            self.outcomes[int(request_id)] = outcomes[0]

    def holder(self, token: bytes) -> str:
        """Who has the client by now: whoever claims it, else the owner by the newest ring."""
        if token in self.claims:
            return self.claims[token][0]
        owners = RINGS[frozenset(self.live)]
        return owners[slot_of(token)]

    @rule(token=st.sampled_from(TOKENS), many=st.integers(1, 3))
    def ask(self, token: bytes, many: int) -> None:
        for _ in range(many):
            self.asked += 1
            self.fleet.ask(*push2(b"%d" % self.asked, [(token, b"%d" % self.asked)], timeout_ms=600_000))
        self.look()

    @rule(name=st.sampled_from(WORKERS), word=st.sampled_from(["leaving", "joins"]))
    def change_ring(self, name: str, word: str) -> None:
        if (word == "leaving") == (name in self.live):
            if word == "leaving":
                if len(self.live) == 1:
                    return
                self.live.discard(name)
                self.fleet.say(name, bus.encode_control(bus.BYE1, {"leaving": True}))
            else:
                self.live.add(name)
                self.ready(name)
            self.look()

    def ready(self, name: str) -> None:
        """READY1, and all its claims."""
        claims = [claim for claimant, claim in self.claims.values() if claimant == name]
        incarnation = str(self.incarnations[name])
        self.fleet.join(name, incarnation=incarnation, leaving=name not in self.live, claims=len(claims))
        self.fleet.say(name, bus_claims.encode_claims(bus.CLAIM1, claims, self.binding))

    @rule(name=st.sampled_from(WORKERS), token=st.sampled_from(TOKENS))
    def claim(self, name: str, token: bytes) -> None:
        self.binding += 1
        self.claims[token] = (name, Claim(token, self.binding, name))
        self.fleet.say(name, bus_claims.encode_claims(bus.CLAIM1, [self.claims[token][1]], self.binding))
        self.look()

    @rule(token=st.sampled_from(TOKENS))
    def unclaim(self, token: bytes) -> None:
        if token in self.claims:
            name, claim = self.claims.pop(token)
            self.fleet.say(name, bus_claims.encode_claims(bus.UNCLAIM1, [claim]))
            self.look()

    @rule(name=st.sampled_from(WORKERS))
    def restart(self, name: str) -> None:
        """What it had is UNKNOWN, and may have been delivered or not: here it was not."""
        self.incarnations[name] += 1
        self.stand_ins[name] = StandIn()
        for token in [token for token, (claimant, _) in self.claims.items() if claimant == name]:
            del self.claims[token]
        self.ready(name)
        self.look()

    @precondition(lambda self: any(stand_in.batches for stand_in in self.stand_ins.values()))
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        busy = [name for name in WORKERS if self.stand_ins[name].batches]
        name = data.draw(st.sampled_from(busy))
        self.answer_batch(name, data.draw(st.booleans()))

    def answer_batch(self, name: str, may_hold: bool) -> None:
        stand_in = self.stand_ins[name]
        sent = stand_in.batches.pop(0)
        if not isinstance(sent, Sent):
            stand_in.stale = {token for token in stand_in.stale if slot_of(token) not in sent}
            return
        outcomes = bytearray()
        waiting = {held.pushes[at][0] for held, at in stand_in.held}
        for index, (token, payload, _) in enumerate(sent.pushes):
            if token in stand_in.stale and token not in waiting:
                outcomes.append(bus.STALE)
            elif self.holder(token) == name and token not in waiting:
                self.delivered[token].append(int(payload))
                outcomes.append(0)
            elif token in waiting or may_hold:
                waiting.add(token)
                stand_in.held.append((sent, index))
                outcomes.append(bus.HELD)
            else:
                stand_in.stale.add(token)
                outcomes.append(bus.STALE)
        self.fleet.outcomes(sent, bytes(outcomes))
        self.look()

    @precondition(lambda self: any(stand_in.held for stand_in in self.stand_ins.values()))
    @rule(data=st.data())
    def answer_late(self, data: st.DataObject) -> None:
        """The first push that a worker holds, and those behind it for the same token."""
        name = data.draw(st.sampled_from([name for name in WORKERS if self.stand_ins[name].held]))
        self.release(name)

    def release(self, name: str) -> None:
        stand_in = self.stand_ins[name]
        token = stand_in.held[0][0].pushes[stand_in.held[0][1]][0]
        here = self.holder(token) == name
        if not here:
            stand_in.stale.add(token)
        for sent, index in [each for each in stand_in.held if each[0].pushes[each[1]][0] == token]:
            stand_in.held.remove((sent, index))
            if here:
                self.delivered[token].append(int(sent.pushes[index][1]))
            self.fleet.late(sent, (index, 0 if here else bus.STALE))
        self.look()

    @invariant()
    def order_per_token_holds(self) -> None:
        for numbers in self.delivered.values():
            assert numbers == sorted(set(numbers))

    def teardown(self) -> None:
        """Everything is answered once and truly when the fleet has come to rest."""
        self.patch.stop()
        while any(stand_in.held or stand_in.batches for stand_in in self.stand_ins.values()):
            for name, stand_in in self.stand_ins.items():
                if stand_in.held:
                    self.release(name)
                if stand_in.batches:
                    self.answer_batch(name, False)
        assert self.fleet.core.parts.pushes.parked == 0
        assert self.outcomes.keys() == set(range(1, self.asked + 1))
        got = {number for numbers in self.delivered.values() for number in numbers}
        for number, outcome in self.outcomes.items():
            assert (outcome == 0) == (number in got)
            assert outcome in (0, 7, 10)
        self.order_per_token_holds()


TestOrderMachine = OrderMachine.TestCase
TestOrderMachine.settings = hypothesis_settings(max_examples=80, stateful_step_count=40, deadline=None)
