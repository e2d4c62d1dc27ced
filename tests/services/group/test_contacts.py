"""CONTACT: who gets what, and what its sender is told. Storage and groups are real, the pushes are recorded."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ujson

from services.group.contacts import Contacts
from services.group.groups import GroupTopics
from services.library import ClientCall, Refusal
from services.storage.interfaces import Storage
from services.storage.opening import open_storage
from shared.errors import SenderError
from shared.outcomes import Outcome
from shared.settings import load


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    with open_storage(load({"PUSH_DATA_DIR": str(tmp_path)})) as opened:
        yield opened


class Pushes:
    """Takes pushes; `outcomes` by token, SENT for others."""

    def __init__(self, **outcomes: Outcome) -> None:
        self.outcomes, self.taken, self.options = outcomes, [], {}  # type: ignore[var-annotated]

    def __call__(self, pushes: Iterable[tuple[str, bytes]], **options: Any) -> Iterator[Outcome]:
        self.options = options
        for token, body in pushes:
            self.taken.append((token, ujson.loads(body)))
            yield self.outcomes.get(token, Outcome.SENT)


def contact(storage: Storage, pushes: Any, ttl_s: int = 60, uid: str | None = None, **fields: Any) -> int:
    """The status that alice is told."""
    topics = GroupTopics(storage)
    call = ClientCall({"signal": 5, "sub_signal": 0, "token": "alice", "uid": uid}, ujson.dumps(fields).encode())
    try:
        assert Contacts(storage, topics, pushes, ttl_s).contact(call) == b""
        return 200
    except Refusal as refused:
        return int(ujson.loads(refused.body)["status"])


def test_to_a_token(storage: Storage):
    pushes = Pushes()
    assert contact(storage, pushes, type=0, to="bob", message="hi") == 200
    assert pushes.taken == [("bob", {"type": 0, "to": "bob", "message": "hi", "from": "alice"})]
    assert pushes.options == {"ttl": 60}


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (Outcome.SENT, 200),
        (Outcome.ACKED, 200),
        (Outcome.STORED, 200),
        (Outcome.BUFFERED, 200),
        (Outcome.OFFLINE, 404),
        (Outcome.TOO_LARGE, 413),
        (Outcome.REFUSED, 400),
        (Outcome.OVERLOADED, 503),
        (Outcome.UNAVAILABLE, 503),
        (Outcome.UNKNOWN, 503),
    ],
)
def test_what_its_sender_is_told(storage: Storage, outcome: Outcome, status: int):
    assert contact(storage, Pushes(bob=outcome), ttl_s=0, type=0, to="bob") == status


def test_to_a_group_but_not_to_its_sender(storage: Storage):
    storage.groups.create("g", "")
    storage.groups.join("g", ["alice", "bob"], ["u"])
    storage.devices.add("u", "carol", "v2", 1.0)
    pushes = Pushes(bob=Outcome.OFFLINE)
    assert contact(storage, pushes, type=1, group="g", message="hi") == 200
    assert sorted(token for token, _ in pushes.taken) == ["bob", "carol"]
    assert contact(storage, Pushes(bob=Outcome.UNKNOWN), type=1, group="g") == 503


def test_a_group_is_for_its_members(storage: Storage):
    storage.groups.create("g", "")
    storage.groups.join("g", ["bob"], ["u"])
    pushes = Pushes()
    assert contact(storage, pushes, type=1, group="g") == 403
    assert contact(storage, pushes, type=1, group="none") == 403
    assert not pushes.taken
    assert contact(storage, pushes, uid="u", type=1, group="g") == 200


def test_no_router(storage: Storage):
    def nobody(*_: object, **__: object) -> Iterator[Outcome]:
        raise SenderError("unreachable", "gone")

    assert contact(storage, nobody, type=0, to="bob") == 503
