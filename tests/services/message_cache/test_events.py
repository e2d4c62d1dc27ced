"""What is told of messages, and that it is told before anything is done that cannot be told of again."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ujson

from services.library import ClientCall
from services.message_cache.caches import Cache
from services.message_cache.events import MessageEvents
from services.storage.events import Keeping
from services.storage.messages import Bounds
from services.storage.messages_sqlite import open_sqlite
from services.storage.sqlite_storage import SqliteStorage
from shared.cached_messages import Drop, Dropped, Failed, Full, Read, Store, decode_results, encode_operations, key_of
from shared.errors import StorageUnavailable
from shared.push_ids import push_id

NOW_MS = 1_700_000_000_000


class Told:
    """A cache and its outbox."""

    def __init__(self, directory: Path) -> None:
        self.now_ms = NOW_MS
        self.storage = SqliteStorage(directory / "push.db", keeping=Keeping(1000))
        self.store = open_sqlite(directory / "messages.db", "memory", Bounds(messages=3, drops_oldest=False))
        self.cache = Cache(self.store, lambda: self.now_ms / 1000, MessageEvents(self.store, self.storage.outbox))

    def do(self, *operations: Any) -> list[Any]:
        (answer,) = self.cache.answer([ClientCall({}, encode_operations(operations))])
        assert isinstance(answer, bytes)
        return decode_results(answer)

    def told(self) -> list[tuple[str, str]]:
        """(kind, push id) of all events so far."""
        events = [ujson.loads(one.json()) for one in self.storage.outbox.read(0, 1000)]
        assert all(one["id"] == f"{one['push_id']}/{one['kind']}" and one["token"] == "alice" for one in events)
        return [(one["kind"], one["push_id"]) for one in events]


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    made = Told(tmp_path)
    yield made
    made.cache.close()
    made.storage.close()


def store(number: int, ttl_s: int = 60, absent: bool = True) -> Store:
    key = key_of(bytes(16), number)
    return Store(b"alice", key, 3, 0, NOW_MS + ttl_s * 1000, None, "", b"hi", absent)


def push(number: int) -> str:
    return push_id(bytes(16), number)


def test_what_is_stored_for_who_is_away_has_reached_nobody(told: Told) -> None:
    told.do(store(1), store(2, absent=False), store(3))
    assert told.told() == [("unreached", push(1)), ("unreached", push(3))]
    [event, _] = [ujson.loads(one.json()) for one in told.storage.outbox.read(0, 2)]
    assert (event["stored"], event["expires"], event["at"]) == (True, NOW_MS + 60_000, NOW_MS)
    assert "request_id" not in event
    assert isinstance(told.do(store(4))[0], Full)  # its sender is told that it is not kept
    assert len(told.told()) == 2


def test_a_copy_has_reached_nobody_if_it_is_still_there(told: Told) -> None:
    [first, second] = told.do(store(1, absent=False), store(2, absent=False))
    told.do(Drop(b"alice", [first.seq]))
    told.do(store(1), store(2))  # both again, when the client has gone
    assert told.told() == [("acknowledged", push(1)), ("unreached", push(2))]
    assert second.seq > first.seq


def test_what_is_taken_out_was_acknowledged_once(told: Told) -> None:
    stored = told.do(store(1, absent=False), store(2, absent=False))
    seqs = [one.seq for one in stored]
    assert told.do(Drop(b"alice", [*seqs, 99])) == [Dropped(2)]
    assert told.do(Drop(b"alice", seqs)) == [Dropped(0)]
    assert told.told() == [("acknowledged", push(1)), ("acknowledged", push(2))]


def test_what_its_client_can_never_take_has_reached_nobody(told: Told) -> None:
    [one] = told.do(store(1, absent=False))
    told.do(Drop(b"alice", [one.seq], refused=True))
    assert told.told() == [("unreached", push(1))]


def test_what_expires_is_told(told: Told) -> None:
    told.do(store(1, ttl_s=5, absent=False), store(2, absent=False))
    told.now_ms += 5000
    told.cache.sweep()
    told.cache.sweep()
    assert told.told() == [("expired", push(1))]
    assert told.cache.counters["expired"] == 1


def test_the_request_id_of_a_push_is_in_all_events_of_it(told: Told) -> None:
    said = [store(1), store(2, absent=False), store(3, ttl_s=5)]
    stored = told.do(*[one._replace(request_id=f"order-{number}") for number, one in enumerate(said, 1)])
    told.do(said[1]._replace(absent=True, request_id="of the copy"))
    told.do(Drop(b"alice", [stored[0].seq]), Drop(b"alice", [stored[1].seq], refused=True))
    told.now_ms += 5000
    told.cache.sweep()
    events = [ujson.loads(one.json()) for one in told.storage.outbox.read(0, 1000)]
    assert [(one["kind"], one["request_id"]) for one in events] == [
        ("unreached", "order-1"),
        ("unreached", "order-3"),
        ("unreached", "order-2"),
        ("acknowledged", "order-1"),
        ("expired", "order-3"),
    ]


def test_without_the_outbox_nothing_is_said_to_be_done(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    [one] = told.do(store(1, ttl_s=5, absent=False))
    put = told.storage.outbox.put

    def fail(events: Any, now: int) -> None:
        if events:
            raise StorageUnavailable("disk full")

    monkeypatch.setattr(told.storage.outbox, "put", fail)
    assert told.do(Drop(b"alice", [one.seq])) == [Failed("disk full")]
    assert told.do(store(2)) == [Failed("disk full")]
    told.now_ms += 5000
    told.cache.sweep()
    monkeypatch.setattr(told.storage.outbox, "put", put)
    assert told.told() == []
    told.cache.sweep()
    told.do(store(2))  # as whoever was told that it failed does
    assert told.told() == [("expired", push(1)), ("unreached", push(2))]
    [messages] = told.do(Read(b"alice", 0, 9, 99))
    assert len(messages.messages) == 1
