"""Lanes: whatever the ring does, each push waits once, in order, in the lane of its owner."""

from hypothesis import given
from hypothesis import strategies as st

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

steps = st.one_of(
    st.lists(st.sampled_from(TOKENS), min_size=1, max_size=12),
    st.sampled_from(range(len(RINGS))),
    st.tuples(st.just("batch"), st.integers(0, 2)),
    st.tuples(st.just("put back"), st.integers(0, 2)),
    st.just("answer one"),
)


def pending(count: int) -> PendingPushes:
    desk: Pushes = None  # type: ignore[assignment]  # lanes do not ask it
    return PendingPushes(desk, Connection(b"s"), b"r", 1, (0, bytes(16), 4, 0), count)


@given(st.lists(steps, max_size=60))
def test_every_push_leaves_once_in_order_from_its_owners_lane(script: list[object]) -> None:
    lanes, owners = Lanes(), RINGS[0]
    lanes.change_ring(owners)
    waiting: dict[bytes, list[bytes]] = {token: [] for token in TOKENS}
    requests: list[tuple[PendingPushes, list[bytes]]] = []
    number = 0
    for step in script:
        if isinstance(step, list):
            number += 1
            pairs = [(token, b"%d.%d" % (number, at)) for at, token in enumerate(step)]
            requests.append((pending(len(step)), [payload for _, payload in pairs]))
            lanes.route(requests[-1][0], *pack_targets(pairs))
            for token, payload in pairs:
                waiting[token].append(payload)
        elif isinstance(step, int):
            owners = RINGS[step]
            assert lanes.change_ring(owners) == []
        elif isinstance(step, tuple):
            every = list(lanes)
            lane = every[step[1] % len(every)]
            taken = lane.next_batch(number, Epoch(1, 1))
            if taken is None:
                continue
            if step[0] == "put back":
                lane.put_back(taken[0], taken[1][4])
                continue
            for token, payload, _ in pushes_of(decode_batch(taken[1])):
                assert owners[slot_of(token)] == lane.worker
                assert waiting[token].pop(0) == payload
        elif requests:
            request, payloads = requests.pop()
            request.answered = True
            for part in request.parts:
                if part.lane is not None:
                    part.lane.bury(part.count)
            for token in TOKENS:
                waiting[token] = [payload for payload in waiting[token] if payload not in payloads]
    for lane in lanes:
        lane.drop_dead()
        assert lane.counted == len(lane.entries) == len(lane.data) == sum(part.count for part in lane.parts)
        assert lane.size_bound >= sum(map(len, lane.data))
    assert sum(lane.counted for lane in lanes) == sum(map(len, waiting.values()))


def test_without_workers_what_waits_is_given_back() -> None:
    lanes = Lanes()
    lanes.change_ring(RINGS[1])
    request = pending(12)
    lanes.route(request, *pack_targets([(token, b"") for token in TOKENS]))
    assert sum(part.count for part in lanes.change_ring([])) == 12
    assert not lanes


def test_the_same_workers_again_change_nothing() -> None:
    lanes = Lanes()
    lanes.change_ring(RINGS[1])
    before = list(lanes)
    lanes.change_ring(owners_of_slots(["b", "a"]))
    assert all(lane is other for lane, other in zip(lanes, before, strict=True))
