"""The outbox of events, in every storage."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import ujson

from services.storage.events import EXPIRED, UNREACHED, Event, Keeping
from services.storage.interfaces import Storage
from services.storage.presences import Ended, Presence
from services.storage.redis_storage import RedisStorage
from services.storage.sqlite_storage import SqliteStorage
from tests.services.storage.conftest import location

NOW = 1_795_000_000_000
MOST = 1000


@pytest.fixture(params=["sqlite", "redis_server", "redis_cluster"])
def keeping(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    """An empty storage that keeps 1,000 events."""
    if request.param == "sqlite":
        with SqliteStorage(tmp_path / "push.db", keeping=Keeping(MOST)) as opened:
            yield opened
        return
    server = request.getfixturevalue(request.param)
    server.flush()
    with RedisStorage(location(server.url), durability="memory", keeping=Keeping(MOST)) as opened:
        yield opened


def event(number: int, token: str = "a", sequence: int | None = None) -> Event:
    return Event(f"id-{number}", UNREACHED, token, {"at": NOW, "push": "ü%{}"}, sequence)


def presence(token: str, binding: int, worker: str = "here/0", moves: int = 0) -> Presence:
    return Presence(token, "u", worker, "v2", "127.0.0.1:1", binding, "here/0", moves)


def test_events_have_numbers_and_sequences_without_gaps(keeping: Storage) -> None:
    box = keeping.outbox
    box.put([event(1), event(2, "b"), event(3)], NOW)
    box.put([event(3), event(4)], NOW + 50)  # one of them again
    kept = box.read(0, 10)
    assert [(one.number, one.token, one.sequence - NOW) for one in kept] == [
        (1, "a", 0),
        (2, "b", 0),
        (3, "a", 1),
        (4, "a", 2),
    ]
    assert box.read(2, 1) == kept[2:3]
    said = {"id": "id-1", "kind": "unreached", "token": "a", "at": NOW, "push": "ü%{}"}
    assert ujson.loads(kept[0].json()) == said | {"token_sequence": NOW, "number": 1}
    assert tuple(box.totals()) == (4, 4, 0)


def test_what_all_consumers_have_confirmed_goes(keeping: Storage) -> None:
    box = keeping.outbox
    box.put([event(number) for number in range(10)], NOW)
    assert box.take("kafka", "x", 60_000, NOW) == 0
    box.prune(["kafka", "webhook"])  # that one has confirmed nothing
    assert box.confirm("kafka", "x", 7)
    box.prune(["kafka", "webhook"])
    assert box.totals().waiting == 10
    assert box.take("webhook", "x", 60_000, NOW) == 0
    assert box.confirm("webhook", "x", 4)
    box.prune(["kafka", "webhook"])
    assert [one.number for one in box.read(0, 99)] == [5, 6, 7, 8, 9, 10]
    box.prune(["kafka"])
    assert [one.number for one in box.read(0, 99)] == [8, 9, 10]
    assert box.take("kafka", "x", 60_000, NOW) == 7
    assert box.confirm("kafka", "x", 10)
    box.prune(["kafka"])
    assert tuple(box.totals()) == (0, 10, 0)
    box.put([event(3)], NOW)  # it has gone: this one cannot be told from a new one
    assert [one.number for one in box.read(0, 99)] == [11]


def test_one_owner_serves_a_consumer(keeping: Storage) -> None:
    box = keeping.outbox
    box.put([event(number) for number in range(4)], NOW)
    assert box.take("webhook", "x", 60_000, NOW) == 0
    assert box.take("webhook", "y", 60_000, NOW + 1) is None
    assert not box.confirm("webhook", "y", 2)
    assert box.confirm("webhook", "x", 2)
    assert box.confirm("webhook", "x", 1)  # late: it stays as it is
    box.release("webhook", "y")
    assert box.take("webhook", "y", 60_000, NOW + 1) is None
    box.release("webhook", "x")
    assert box.take("webhook", "y", 60_000, NOW + 1) == 2
    assert box.take("webhook", "y", 60_000, NOW + 2) == 2


def test_over_the_bound_the_oldest_go_and_are_counted(keeping: Storage) -> None:
    box = keeping.outbox
    box.put([event(number) for number in range(MOST + 30)], NOW)
    totals = box.totals()
    assert (totals.waiting, totals.last, totals.dropped) == (MOST, MOST + 30, 30)
    assert box.read(0, 1)[0].number == 31
    box.put([event(0)], NOW)  # it is not there any more
    assert box.totals().dropped == 31


def test_many_put_at_once(keeping: Storage) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda part: keeping.outbox.put([event(part * 20 + n) for n in range(30)], NOW), range(16)))
    kept = keeping.outbox.read(0, MOST)
    assert [one.number for one in kept] == list(range(1, len(kept) + 1))
    assert [one.sequence for one in kept] == list(range(NOW, NOW + len(kept)))
    assert len({ujson.loads(one.text)["id"] for one in kept}) == len(kept) == 330


def test_kinds_that_nobody_wants_are_not_kept(keeping: Storage) -> None:
    keeping.outbox.keeping = Keeping(MOST, frozenset({EXPIRED}))
    keeping.outbox.put([event(1), event(2)._replace(kind=EXPIRED)], NOW)
    assert [one.kind for one in keeping.outbox.read(0, 9)] == [EXPIRED]


def test_who_comes_and_goes_is_kept_with_its_change(keeping: Storage) -> None:
    store = keeping.presences
    store.report("here/0", "x.1", 1, 60_000, NOW, begin=True)
    store.come([presence("a", 5), presence("b", 5)], "x.1", NOW)
    store.come([presence("a", 5, "here/1", 1)], "y.1", NOW + 1)  # it moves
    store.come([presence("a", 6)], "x.1", NOW + 2)
    store.gone([Ended(presence("b", 5), "kicked")], NOW + 3)
    assert [one for part in store.end("here/0", "x.0", NOW + 4) for one in part] == []
    kept = [ujson.loads(one.json()) for one in keeping.outbox.read(0, 99)]
    assert sorted((one["token"], one["token_sequence"] - NOW, one["kind"], one.get("reason")) for one in kept) == [
        ("a", 0, "connected", None),
        ("a", 1, "disconnected", "replaced"),
        ("a", 2, "connected", None),
        ("b", 0, "connected", None),
        ("b", 1, "disconnected", "kicked"),
    ]
    assert [one["number"] for one in kept] == [1, 2, 3, 4, 5]
    assert {one["id"] for one in kept if one["token"] == "b"} == {f"b/{NOW}", f"b/{NOW + 1}"}


def test_storage_that_keeps_no_events_keeps_none(storage: Storage) -> None:
    storage.presences.report("here/0", "x.1", 1, 60_000, NOW, begin=True)
    assert storage.presences.come([presence("a", 5)], "x.1", NOW)
    storage.outbox.put([event(1)], NOW)
    storage.presences.finish(NOW)
    assert tuple(storage.outbox.totals()) == (0, 0, 0)


@pytest.mark.parametrize("server", ["redis_server", "redis_cluster"])
def test_what_a_killed_process_has_not_moved_is_found(server: str, request: pytest.FixtureRequest) -> None:
    servers = request.getfixturevalue(server)
    servers.flush()
    with RedisStorage(location(servers.url), durability="memory", keeping=Keeping(MOST)) as storage:
        store, events = storage.presences, storage.presences._events
        move, events.move = events.move, lambda marks, at: None  # it dies behind the change
        store.come([presence("a", 5)], "x.1", NOW)
        store.gone([Ended(presence("a", 5), "kicked")], NOW + 1)
        events.move = move
        store.finish(NOW + 100)
        assert storage.outbox.read(0, 9) == []  # it may be under way
        store.finish(NOW + 10_000)
        assert [(one.kind, one.sequence - NOW) for one in storage.outbox.read(0, 9)] == [
            ("connected", 0),
            ("disconnected", 1),
        ]
        store.finish(NOW + 20_000)
        assert storage.outbox.totals().last == 2
        assert events.left_over(NOW + 30_000) == []


class Killed(Exception):
    """Here a process dies."""


@pytest.fixture(params=["redis_server", "redis_cluster"])
def two(request: pytest.FixtureRequest) -> Iterator[tuple[RedisStorage, RedisStorage]]:
    """An empty storage, as two processes have it."""
    servers = request.getfixturevalue(request.param)
    servers.flush()
    place, keeping = location(servers.url), Keeping(MOST)
    with (
        RedisStorage(place, durability="memory", keeping=keeping) as one,
        RedisStorage(place, durability="memory", keeping=keeping) as other,
    ):
        yield one, other


def kept_of(storage: Storage) -> list[tuple[str, int]]:
    return [(one.kind, one.sequence - NOW) for one in storage.outbox.read(0, 9)]


def test_a_mark_is_taken_out_by_nobody_else(
    two: tuple[RedisStorage, RedisStorage], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two
    ours, theirs = one.presences._events, other.presences._events
    begin = ours.begin

    def begin_while_another_ends(tokens: Sequence[str], at: int) -> Mapping[str, str]:
        before = theirs.begin(tokens, at)
        marks = begin(tokens, at)
        theirs.move(list(before.values()), at)
        return marks

    def die(marks: Sequence[str], at: int) -> None:
        raise Killed

    monkeypatch.setattr(ours, "begin", begin_while_another_ends)
    monkeypatch.setattr(ours, "move", die)
    with pytest.raises(Killed):
        one.presences.come([presence("a", 5)], "x.1", NOW)
    assert kept_of(other) == []
    other.presences.finish(NOW + 10_000)
    assert kept_of(other) == [("connected", 0)]
    assert theirs.left_over(NOW + 20_000) == []


def test_who_is_too_slow_begins_again(two: tuple[RedisStorage, RedisStorage], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its mark is gone when it would change the entry; then it dies: what it has told must have another mark."""
    one, other = two
    events = one.presences._events
    begin, move = events.begin, events.move
    begun: list[Mapping[str, str]] = []

    def begin_slowly(tokens: Sequence[str], at: int) -> Mapping[str, str]:
        marks = begin(tokens, at)
        if not begun:
            other.presences.finish(NOW + 10_000)
        begun.append(marks)
        return marks

    def die_behind_the_change(marks: Sequence[str], at: int) -> None:
        if one.presences.load(["a"]) != [None]:
            raise Killed
        move(marks, at)

    monkeypatch.setattr(events, "begin", begin_slowly)
    monkeypatch.setattr(events, "move", die_behind_the_change)
    with pytest.raises(Killed):
        one.presences.come([presence("a", 5)], "x.1", NOW)
    assert len(begun) == 2
    other.presences.finish(NOW + 20_000)
    assert kept_of(other) == [("connected", 0)]
