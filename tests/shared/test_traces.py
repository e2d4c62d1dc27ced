"""shared/traces.py: what is asked, and what is kept to answer it."""

import pytest
import ujson

from shared import bus
from shared.errors import BusError
from shared.origins import Origin
from shared.rings import Epoch
from shared.traces import (
    FOUND_MAX,
    Found,
    Messages,
    Packed,
    Recent,
    Wanted,
    find_in,
    key_of_push_id,
    outcome_name,
    packed,
    pushes_of,
    wanted_fields,
    wanted_of,
)

ONE, TWO = bytes(range(16)), bytes(range(16, 32))


def batch(payload: bytes = b"p") -> Packed:
    """Two requests: alice and bob of one, with an id of its sender; alice once more of another."""
    segments = [bus.Segment(2, bus.ORIGIN, ONE, 4, 0), bus.Segment(1, 0, TWO, 4, 0)]
    tokens = [(b"alice", 0), (b"bob", 7), (b"alice", 0)]
    index = [bus.ENTRY.pack(len(token), len(payload), position) for token, position in tokens]
    data = [token + payload for token, _ in tokens]
    frames = bus.encode_batch(Epoch(1, 1), 5, segments, index, data, (), [Origin("order-1", "")])
    return Packed(*packed(frames))


@pytest.mark.parametrize("payload", [b"", b"p", b"p" * 4096])
def test_pushes_of_a_batch(payload: bytes) -> None:
    kept = batch(payload)
    assert list(pushes_of(kept)) == [
        Found(0, 0, b"alice", ONE, 0, len(payload), "order-1"),
        Found(1, 0, b"bob", ONE, 7, len(payload), "order-1"),
        Found(2, 1, b"alice", TWO, 0, len(payload), ""),
    ]
    assert len(kept.data) == (13 + 3 * len(payload) if kept.with_payloads else 13)
    assert kept.with_payloads == (len(payload) < 4096)


@pytest.mark.parametrize(
    ("wanted", "places"),
    [
        (Wanted(b"alice"), [0, 2]),
        (Wanted(b"alic"), []),
        (Wanted(b"alice", ((ONE, None),)), [0]),
        (Wanted(None, ((ONE, None),)), [0, 1]),
        (Wanted(None, ((ONE, 7),)), [1]),
        (Wanted(None, ((ONE, 3), (TWO, 0))), [2]),
        (Wanted(None, (), "order-1"), [0, 1]),
        (Wanted(b"bob", (), "order-1"), [1]),
        (Wanted(None, (), "order"), []),
        (Wanted(None), []),
    ],
)
def test_what_is_wanted_is_found(wanted: Wanted, places: list[int]) -> None:
    assert [each.place for each in find_in(batch(), wanted)] == places


def test_a_question_survives_the_bus() -> None:
    for wanted in (Wanted(b"a"), Wanted("ä".encode(), ((ONE, None), (TWO, 3)), "r", 7), Wanted(None, (), "r")):
        assert wanted_of(ujson.loads(ujson.dumps(wanted_fields(wanted)))) == wanted


@pytest.mark.parametrize(
    "body",
    [
        {"token": 7},
        {"token": b"a"},
        {"keys": 7},
        {"keys": [7]},
        {"keys": [["00", None]]},
        {"keys": [["zz" * 16, None]]},
        {"keys": [["00" * 16, "1"]]},
        {"keys": [["00" * 16]]},
        {"request_id": 7},
        {"message_id": "7"},
    ],
)
def test_what_is_no_question(body: dict[str, object]) -> None:
    with pytest.raises(BusError):
        wanted_of(body)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (f"{ONE.hex()}-12", (ONE, 12)),
        (ONE.hex(), (ONE, None)),
        (f"{ONE.hex()}-", None),
        (f"{ONE.hex()}-x", None),
        ("z" * 32, None),
        ("order-1", None),
    ],
)
def test_push_ids(text: str, key: object) -> None:
    assert key_of_push_id(text) == key


def test_the_oldest_goes_over_either_bound() -> None:
    recent = Recent(10, 100)
    assert recent.note((6, 10, "a")) == 0
    assert recent.note((4, 10, "b")) == 0
    assert recent.note((1, 10, "c")) == 6
    assert [entry[2] for entry in recent] == ["b", "c"]
    assert len(recent) == 5
    assert recent.note((1, 90, "d")) == 4
    assert [entry[2] for entry in recent] == ["c", "d"]
    assert recent.note((1, 101, "too large by itself")) == 3
    assert [*recent] == []


def test_nothing_is_kept_if_nothing_is_to_be() -> None:
    recent = Recent(0, 100)
    assert recent.note((1, 1)) == 0
    assert [*recent] == []


def test_only_the_newest_fit_an_answer() -> None:
    messages = Messages()
    for position in range(FOUND_MAX + 5):
        messages.of(Found(0, 0, b"a", ONE, position, 1, "")).append([1.0, "received", ""])
    told = messages.newest()
    assert len(told) == FOUND_MAX
    assert told[-1]["id"].endswith(f"-{FOUND_MAX + 4}")


def test_outcomes_by_name() -> None:
    assert [outcome_name(byte) for byte in (0, bus.HELD, bus.KEPT, bus.STALE, 77)] == [
        "SENT",
        "HELD",
        "KEPT",
        "STALE",
        "UNKNOWN",
    ]
