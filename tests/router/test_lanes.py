"""Lanes: whatever the ring does, each push waits once, in order, in the lane of its owner."""

from hypothesis import given
from hypothesis import strategies as st

from router.batches import Batch, Lane
from router.connections import Connection
from router.lanes import Lanes
from router.pending import PendingPushes
from router.pushes import Pushes
from shared.bus import decode_batch
from shared.requests import pack_targets
from shared.rings import Epoch, owners_of_slots
from shared.tokens import slot_of
from tests.router.driven_core import pushes_of

RINGS = [owners_of_slots(names) for names in (["a"], ["a", "b"], ["b", "c"], ["a", "b", "c"])]
TOKENS = [b"t%d" % number for number in range(12)]


def pending(count: int) -> PendingPushes:
    desk: Pushes = None  # type: ignore[assignment]  # lanes do not ask it
    return PendingPushes(desk, Connection(b"s"), b"r", 1, (0, bytes(16), 4, 0), count)


class Model:
    """Lanes, and beside them what must wait: payloads by token, in order."""

    def __init__(self) -> None:
        self.lanes = Lanes({})
        self.owners = RINGS[0]
        self.lanes.change_ring(self.owners)
        self.waiting: dict[bytes, list[bytes]] = {token: [] for token in TOKENS}
        self.requests: list[tuple[PendingPushes, list[bytes]]] = []

    def ask(self, tokens: list[bytes]) -> None:
        pairs = [(token, b"%d.%d" % (len(self.requests), at)) for at, token in enumerate(tokens)]
        request = pending(len(tokens))
        self.requests.append((request, [payload for _, payload in pairs]))
        self.lanes.route(request, *pack_targets(pairs))
        for token, payload in pairs:
            self.waiting[token].append(payload)

    def change_ring(self, ring: int) -> None:
        self.owners = RINGS[ring]
        assert self.lanes.change_ring(self.owners) == []

    def take(self, which: int, put_back: bool) -> None:
        lane = list(self.lanes)[which % len(list(self.lanes))]
        taken = lane.next_batch(1, Epoch(1, 1))
        if taken is None:
            assert not lane.entries
        elif put_back:
            lane.put_back(taken[0])
        else:
            self.look_at(lane, taken[0], pushes_of(decode_batch(taken[1])))

    def look_at(self, lane: Lane, batch: Batch, pushes: list[tuple[bytes, bytes, int]]) -> None:
        for token, payload, _ in pushes:
            assert self.owners[slot_of(token)] == lane.worker
            assert self.waiting[token].pop(0) == payload
        for part in batch.parts:
            payloads = next(payloads for request, payloads in self.requests if request is part.pending)
            for _, payload, position in pushes[part.start : part.start + part.count]:
                assert payloads[position] == payload

    def time_out(self, which: int) -> None:
        """Its pushes that wait must not be sent any more."""
        if not self.requests:
            return
        request, payloads = self.requests[which % len(self.requests)]
        if request.answered:
            return
        request.answered = True
        for part in request.parts:
            if part.lane is not None:
                part.lane.bury(part.count)
        for token in TOKENS:
            self.waiting[token] = [payload for payload in self.waiting[token] if payload not in payloads]

    def check(self) -> None:
        for lane in self.lanes:
            lane.drop_dead()
            assert lane.counted == len(lane.entries) == len(lane.data) == sum(part.count for part in lane.parts)
            assert lane.size_bound >= sum(map(len, lane.data))
        assert sum(lane.counted for lane in self.lanes) == sum(map(len, self.waiting.values()))


some = st.integers(0, 50)
steps = st.one_of(
    st.tuples(st.just(Model.ask), st.lists(st.sampled_from(TOKENS), min_size=1, max_size=12)),
    st.tuples(st.just(Model.change_ring), st.sampled_from(range(len(RINGS)))),
    st.tuples(st.just(Model.take), some, st.booleans()),
    st.tuples(st.just(Model.time_out), some),
)


@given(st.lists(steps, min_size=15, max_size=60))
def test_every_push_leaves_once_in_order_from_its_owners_lane(script: list[tuple[object, ...]]) -> None:
    model = Model()
    for step, *arguments in script:
        step(model, *arguments)  # type: ignore[operator]
    model.check()


def test_without_workers_what_waits_is_given_back() -> None:
    lanes = Lanes({})
    lanes.change_ring(RINGS[1])
    request = pending(12)
    lanes.route(request, *pack_targets([(token, b"") for token in TOKENS]))
    assert sum(part.count for part in lanes.change_ring([])) == 12
    assert not lanes


def test_the_same_workers_again_change_nothing() -> None:
    lanes = Lanes({})
    lanes.change_ring(RINGS[1])
    before = list(lanes)
    lanes.change_ring(owners_of_slots(["b", "a"]))
    assert all(lane is other for lane, other in zip(lanes, before, strict=True))
