"""Whatever a worker says, the router goes on."""

import ujson
from hypothesis import given
from hypothesis import strategies as st

from shared import bus
from tests.router.driven_core import DrivenCore

KINDS = [
    bus.READY1,
    bus.BEAT1,
    bus.BYE1,
    bus.OUTCOMES1,
    bus.LATE1,
    bus.COUNTS1,
    bus.REPLY1,
    bus.PUSHES1,
    bus.RING1,
    bus.WHO1,
    bus.NEWS1,
    bus.CLAIM1,
    bus.UNCLAIM1,
]
FIELDS = ["worker", "incarnation", "hand_over", "pid", "leaving", "gone", "epoch", "connections", "counters", "answers"]
FIELDS += ["live", "claims", "routers", "started", "ring", "fan_out"]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
epochs = st.tuples(st.integers(-1, 1_700_000_000_001), st.integers(0, 3)).map(list)
names = st.sampled_from(["h/0", "h/1", "h/7", "\ud800", ""])
claims = st.lists(st.tuples(st.text(max_size=3), st.integers(-1, 9), names).map(list), max_size=3)
rings = st.fixed_dictionaries({key: st.dictionaries(names, names, max_size=3) for key in ("live", "leaving")})
likely = st.builds(
    lambda ring, epoch, claims: {**ring, "epoch": epoch, "claims": claims, "ring": {**ring, "epoch": epoch}},
    rings, epochs, claims | st.integers(0, 3),
)  # fmt: skip
said = st.dictionaries(st.sampled_from(FIELDS), json_values, max_size=5)
whole = st.builds(lambda body: {"worker": "h/0", "incarnation": "a", "hand_over": "x", **body}, likely)
bodies = (said | likely | whole).map(lambda body: ujson.dumps(body).encode())
numbers = st.integers(0, 3).map(lambda number: ((1_700_000_000_000 << 20) + number).to_bytes(8, "big"))
messages = st.tuples(st.sampled_from(KINDS), st.lists(numbers | bodies | st.binary(max_size=20), max_size=3))


@given(st.lists(messages, max_size=12))
def test_anything_from_a_worker(script: list[tuple[bytes, list[bytes]]]) -> None:
    fleet = DrivenCore("h/0", "h/1")
    fleet.push(b"r1", b"a", b"b", b"c")
    fleet.ask(b"FIND1", b"r2", b"a", b"b")
    fleet.ask(b"PUSH1", b"r3", b'{"to":"all"}', b"", b"p")
    for kind, frames in script:
        fleet.say("h/0", [kind, *frames])
        fleet.say("h/9", [kind, *frames])
    fleet.ask(b"STAT1", b"r4")
    fleet.advance(12)
    answers = fleet.answers()
    assert sorted(frames[1] for frames in answers) == [b"r1", b"r2", b"r3", b"r4"]
    assert fleet.core.unanswered == 0
    fleet.join("h/0", incarnation="new")
    fleet.push(b"r5", b"a")
    for sent in fleet.sent():
        fleet.outcomes(sent)
    assert fleet.answer()[1:3] == [b"r5", bytes(1)]
