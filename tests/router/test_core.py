"""The core as a whole: whatever workers and senders do, every request is answered exactly once, and truly."""

from collections import defaultdict
from dataclasses import dataclass, field

import ujson
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from shared import bus, bus_rings
from shared.outcomes import RETRYABLE, Outcome
from shared.requests import DONE1, FAIL1
from shared.rings import owners_of_slots
from shared.tokens import slot_of
from tests.router.driven_core import DrivenCore, Sent, push2, pushes_of

WORKERS = ("h/0", "h/1", "h/2")
SENDERS = (b"s1", b"s2")
TOKENS = tuple(b"t%d" % number for number in range(6))


@dataclass
class Request:
    """What a sender asked. Its request id is its number; each push's payload is `number.position`."""

    number: int
    sender: bytes
    tokens: list[bytes]
    options: dict[str, object]
    due: float
    answer: bytes | None = None
    #: By position: the outcomes that workers gave, and how often it went to one.
    said: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    went: dict[int, int] = field(default_factory=lambda: defaultdict(int))


class RouterMachine(RuleBasedStateMachine):
    """Senders ask, workers do whatever workers can do, time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.fleet = DrivenCore(
            ring_settle_ms=500, workers=2, bus_window_batches=2, pending_requests_max=40, worker_timeout_ms=3000
        )
        self.requests: dict[int, Request] = {}
        self.unanswered: list[Sent] = []
        self.held: list[tuple[Sent, int]] = []
        self.incarnations = dict.fromkeys(WORKERS, 0)
        self.batches_of: dict[int, int] = {}  # batch number -> incarnation
        self.live: set[str] = set()  # processes that run
        self.order: dict[tuple[bytes, bytes], list[tuple[int, int]]] = defaultdict(list)
        self.told: dict[str, bus_rings.RingNews] = {}
        for sender in SENDERS:
            self.fleet.hello(b"name-" + sender, sender=sender)

    # what senders do

    @rule(
        sender=st.sampled_from(SENDERS),
        tokens=st.lists(st.sampled_from(TOKENS), min_size=1, max_size=8),
        timeout_ms=st.sampled_from([100, 1000, 10_000]),
        with_id=st.booleans(),
    )
    def ask(self, sender: bytes, tokens: list[bytes], timeout_ms: int, with_id: bool) -> None:
        number = len(self.requests) + 1
        options: dict[str, object] = {"timeout_ms": timeout_ms}
        if with_id:
            options["id"] = f"i{number}"
        self.requests[number] = Request(number, sender, tokens, options, self.fleet.now + timeout_ms / 1000)
        pairs = [(token, b"%d.%d" % (number, position)) for position, token in enumerate(tokens)]
        self.fleet.ask(*push2(b"%d" % number, pairs, **options), sender=sender)
        self.look()

    # what workers do

    @rule(worker=st.sampled_from(WORKERS))
    def start_or_restart(self, worker: str) -> None:
        self.incarnations[worker] += 1
        self.live.add(worker)
        self.fleet.cut.discard(worker.encode())
        self.forget(worker)
        self.fleet.join(worker, incarnation=str(self.incarnations[worker]))
        self.look()

    @rule(worker=st.sampled_from(WORKERS), noticed=st.booleans())
    def die(self, worker: str, noticed: bool) -> None:
        """Its link breaks at once, or it just says nothing any more."""
        self.live.discard(worker)
        self.forget(worker)
        if noticed:
            self.fleet.cut.add(worker.encode())

    @rule(worker=st.sampled_from(WORKERS), gone=st.booleans())
    def bye(self, worker: str, gone: bool) -> None:
        if worker in self.live:
            if gone:
                self.live.discard(worker)
                self.forget(worker)
            self.fleet.say(worker, bus.encode_control(bus.BYE1, {"gone": True} if gone else {"leaving": True}))
            self.look()

    @precondition(lambda self: self.unanswered)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        sent = self.unanswered.pop(data.draw(st.integers(0, len(self.unanswered) - 1)))
        some = st.sampled_from([0, 0, 0, 3, 5, 8, 9, bus.HELD])
        outcomes = bytes(data.draw(st.lists(some, min_size=len(sent.pushes), max_size=len(sent.pushes))))
        for index, ((_, payload, _), outcome) in enumerate(zip(sent.pushes, outcomes, strict=True)):
            if outcome == bus.HELD:
                self.held.append((sent, index))
            else:
                self.note(payload, outcome)
        self.fleet.outcomes(sent, outcomes)
        self.look()

    @precondition(lambda self: self.held)
    @rule(data=st.data(), outcome=st.sampled_from([0, 3, 7]))
    def answer_late(self, data: st.DataObject, outcome: int) -> None:
        sent, index = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        self.note(sent.pushes[index][1], outcome)
        self.fleet.late(sent, (index, outcome))
        self.look()

    @rule(worker=st.sampled_from(WORKERS))
    def say_nonsense(self, worker: str) -> None:
        if worker in self.live:
            self.fleet.say(worker, [bus.OUTCOMES1, bytes(8), b"123"])
            self.look()

    # what time does

    @rule(seconds=st.sampled_from([0.05, 0.5, 2.0]))
    def wait(self, seconds: float) -> None:
        for worker in sorted(self.live):
            self.fleet.say(worker, bus.encode_control(bus.BEAT1, {"epoch": [0, 0]}))
        for _ in range(round(seconds / 0.05)):
            self.fleet.advance(0.05)
            self.look()

    # what must hold

    def forget(self, worker: str) -> None:
        """A process that ended answers nothing."""
        self.unanswered = [sent for sent in self.unanswered if sent.worker != worker]
        self.held = [(sent, index) for sent, index in self.held if sent.worker != worker]

    def note(self, payload: bytes, outcome: int) -> None:
        number, position = map(int, payload.split(b"."))
        self.requests[number].said[position].append(outcome)

    def look(self) -> None:
        """Check everything that the router sent."""
        for worker, frames in self.fleet.to_workers:
            if frames[0] == bus.RING1:
                news = bus_rings.decode_ring(frames)
                assert worker not in self.told or news.epoch >= self.told[worker].epoch
                self.told[worker] = news
            elif frames[0] == bus.PUSHES1:
                self.look_at_batch(worker, bus.decode_batch(frames))
        for sent in self.fleet.sent():
            if sent.worker in self.live:
                self.unanswered.append(sent)
        self.fleet.to_workers.clear()
        for sender in SENDERS:
            for frames in self.fleet.answers(sender):
                self.look_at_answer(sender, frames)

    def look_at_batch(self, worker: str, batch: bus.Batch) -> None:
        assert batch.epoch == self.told[worker].epoch
        owners = owners_of_slots(sorted(self.told[worker].live))
        for token, payload, position in pushes_of(batch):
            assert owners[slot_of(token)] == worker
            number, at = map(int, payload.split(b"."))
            request = self.requests[number]
            assert at == position
            assert request.tokens[position] == token
            assert request.answer is None, "sent after it was answered"
            request.went[position] += 1
            assert request.went[position] == 1, "sent twice"
            self.order[request.sender, token].append((number, position))

    def look_at_answer(self, sender: bytes, frames: list[bytes]) -> None:
        request = self.requests[int(frames[1])]
        assert request.sender == sender
        assert request.answer is None, "answered twice"
        if frames[0] == FAIL1:
            assert ujson.loads(frames[2])["code"] == "overloaded"
            assert not request.went
            request.answer = b"-"
            return
        assert frames[0] == DONE1
        request.answer = frames[2]
        assert len(frames[2]) == len(request.tokens)
        for position, outcome in enumerate(frames[2]):
            said = request.said[position]
            if said:
                assert outcome == said[0]
            elif request.went[position]:
                assert outcome == Outcome.UNKNOWN
                assert self.fleet.now >= request.due or (request.number, position) not in self.with_workers()
            else:
                assert outcome == Outcome.UNAVAILABLE
                assert self.fleet.now >= request.due or not self.told_live()

    def with_workers(self) -> set[tuple[int, int]]:
        """(request, position) of what running workers have and have not answered."""
        pushes = [push for sent in self.unanswered for push in sent.pushes]
        pushes += [sent.pushes[index] for sent, index in self.held]
        return {(int(payload.split(b".")[0]), position) for _, payload, position in pushes}

    def told_live(self) -> bool:
        """Whether there is a live worker by the newest ring."""
        return bool(self.fleet.core.parts.membership.owners)

    @invariant()
    def order_per_token_holds(self) -> None:
        for numbers in self.order.values():
            assert numbers == sorted(numbers)

    @invariant()
    def accounts_are_right(self) -> None:
        open_requests = [request for request in self.requests.values() if request.answer is None]
        admission = self.fleet.core.parts.admission
        assert admission.requests == len(open_requests) == self.fleet.core.unanswered
        assert bool(admission.bytes) == bool(open_requests)
        assert self.fleet.core.counters["internal_errors"] == 0

    def teardown(self) -> None:
        """In the end everything is answered, and what may be repeated is, once and for all."""
        self.fleet.advance(11)
        self.look()
        assert all(request.answer is not None for request in self.requests.values())
        for request in self.requests.values():
            if request.options.get("id") and request.answer != b"-":
                self.repeat(request)

    def repeat(self, request: Request) -> None:
        """With no worker left a repeated request gets its first outcomes; what may not have been sent stays so."""
        pairs = [(token, b"%d.%d" % (request.number, at)) for at, token in enumerate(request.tokens)]
        self.fleet.ask(*push2(b"again", pairs, **request.options), sender=request.sender)
        first, again = request.answer, self.fleet.answer(request.sender)[2]
        assert first is not None
        for before, now in zip(first, again, strict=True):
            allowed = {before} if before not in RETRYABLE or before == Outcome.UNKNOWN else {Outcome.UNAVAILABLE}
            assert now in allowed


TestRouterMachine = RouterMachine.TestCase
TestRouterMachine.settings = hypothesis_settings(max_examples=60, stateful_step_count=40, deadline=None)
