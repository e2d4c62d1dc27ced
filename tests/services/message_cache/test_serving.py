"""The process, over a real socket."""

import os
import queue
import random
import resource
import sqlite3
import subprocess
import sys
import time

import pytest

from services.storage.messages_opening import open_messages
from shared.cached_messages import Copy, Drop, Dropped, Failed, Messages, Read, Store, Stored, key_of
from shared.settings import load
from tests.fleet.processes import DEADLINE_S
from tests.services.library.router_socket import ServiceRouter
from tests.services.message_cache.cache_process import CacheProcess, ask, call, results
from tests.services.storage.redis_servers import RedisServer

TOKENS = [b"alice", b"bob", b"carol"]
LATER_MS = int((time.time() + 3600) * 1000)


@pytest.fixture
def router():
    with ServiceRouter() as started:
        yield started


@pytest.fixture(params=["sqlite", "redis"])
def storage(request, tmp_path):
    """The setting."""
    if request.param == "sqlite":
        yield "sqlite"
        return
    with RedisServer(tmp_path / "redis") as server:
        yield server.url


def store(number, token=b"alice"):
    payload = b"payload %d" % number
    return Store(token, key_of(number.to_bytes(16, "big"), 7), 3, 0, LATER_MS, None, "billing", payload)


def test_it_answers_and_what_it_said_lasts(router, tmp_path):
    with CacheProcess(router, tmp_path) as cache:
        cache.wait_ready()
        first, second = [each.seq for each in ask(router, [store(1), store(2)])]
        cache.kill()
    with CacheProcess(router, tmp_path) as cache:
        cache.wait_ready()
        call(router, 1, [store(2), store(3)], retry=True)
        copy, stored = results(router.answer())
        assert (copy, stored.dropped) == (Copy(second), 0)
        assert first < second < stored.seq
        assert ask(router, [Drop(b"alice", [first, second])]) == [Dropped(2)]
        (read,) = ask(router, [Read(b"alice", 0, 10, 1000)])
        assert [each.payload for each in read.messages] == [b"payload 3"]
        router.call(2, b"no list", (0, 64))
        assert router.answer().code == 1
        cache.process.terminate()
        assert cache.ended()[0] == 0


def test_in_memory_nothing_is_on_disk(router, tmp_path):
    with CacheProcess(router, tmp_path, storage_durability="memory") as cache:
        cache.wait_ready()
        (stored,) = ask(router, [store(1)])
        assert ask(router, [Read(b"alice", 0, 10, 1000)])[0].newest == stored.seq
        assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["message-cache-0.pid"]


@pytest.mark.parametrize("damage", ["no database", "damaged page", "later version", "another's"])
def test_it_refuses_a_file_that_is_not_its_own_and_leaves_it_alone(router, tmp_path, damage):
    path = tmp_path / "state" / "messages.db"
    environment = {"PUSH_DATA_DIR": str(tmp_path)}
    database = open_messages(load(environment))
    database.apply([store(number) for number in range(1000)], 0)
    database.close()
    if damage == "no database":
        path.write_bytes(b"not a database at all" * 100)
    elif damage == "damaged page":
        content = bytearray(path.read_bytes())
        content[4096 * 5 : 4096 * 40] = random.Random(1).randbytes(4096 * 35)
        path.write_bytes(content)
    else:
        with sqlite3.connect(path) as other:
            other.executescript("PRAGMA user_version = 99" if damage == "later version" else "DROP TABLE recent")
        other.close()
    before = path.read_bytes()
    with CacheProcess(router, tmp_path) as cache:
        status, said = cache.ended()
    assert status == 2
    assert str(path) in said
    assert "Traceback" not in said
    assert path.read_bytes() == before


def test_a_file_that_may_not_grow_stores_nothing_and_loses_nothing_until_it_may(router, tmp_path):
    with CacheProcess(router, tmp_path) as cache:
        cache.wait_ready()
        (first,) = ask(router, [store(1)])
        _, hard = resource.prlimit(cache.process.pid, resource.RLIMIT_FSIZE)
        largest = max(path.stat().st_size for path in (tmp_path / "state").iterdir())
        resource.prlimit(cache.process.pid, resource.RLIMIT_FSIZE, (largest, hard))
        big = [store(number)._replace(payload=bytes(10_000)) for number in range(2, 20)]
        assert {type(result) for result in ask(router, big)} == {Failed}
        assert ask(router, [Read(b"alice", 0, 10, 1000)])[0].newest == first.seq
        resource.prlimit(cache.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
        others = ask(router, big)
        assert {type(result) for result in others} == {Stored}
        cache.kill()
    with CacheProcess(router, tmp_path) as cache:
        cache.wait_ready()
        assert [number for number, *_ in read_all(router, b"alice")] == [each.seq for each in (first, *others)]


@pytest.mark.parametrize("store_goes", ["file", "redis"])
def test_an_old_acknowledgement_takes_nothing_out_of_a_store_that_came_back_empty(router, tmp_path, store_goes):
    with RedisServer(tmp_path / "redis") as server:
        storage = server.url if store_goes == "redis" else "sqlite"
        with CacheProcess(router, tmp_path, storage=storage) as cache:
            cache.wait_ready()
            before = [each.seq for each in ask(router, [store(number) for number in range(20)])]
            cache.kill()
        server.flush()
        for path in (tmp_path / "state").glob("messages.db*"):
            path.unlink()
        with CacheProcess(router, tmp_path, storage=storage) as cache:
            cache.wait_ready()
            stored = [each.seq for each in ask(router, [store(number) for number in range(20, 40)])]
            (dropped, behind) = ask(router, [Drop(b"alice", before), Read(b"alice", before[-1], 100, 1 << 20)])
            assert dropped == Dropped(0)
            assert [each.seq for each in behind.messages] == stored


def test_there_is_no_cache_of_a_number_that_the_settings_do_not_count(tmp_path):
    command = [sys.executable, "-m", "services.main", "run", "message-cache", "--index", "1"]
    environment = os.environ | {"PUSH_DATA_DIR": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "message_caches" in done.stderr


def test_killed_at_any_instant_it_has_all_that_it_said_in_order_and_nothing_twice(router, tmp_path, storage):
    """Unanswered calls are repeated first, as the router does it; then new ones follow."""
    rng = random.Random(storage[:5])
    sent: list[Store] = []
    known: dict[bytes, int] = {}  # number in its token by key, of what was answered
    batches: dict[int, list[Store]] = {}
    calls: dict[int, list[Store]] = {}  # of these, not answered yet
    settings = {"storage": storage, "cached_messages_max": 10**6, "cached_bytes_max": 1 << 30}
    kills = answered_again = 0

    def take_answer(timeout):
        answer = router.answers.get(timeout=timeout)
        calls.pop(answer.number, None)  # what it said before it was killed may come late, and twice then
        for each, result in zip(batches[answer.number], results(answer), strict=True):
            assert isinstance(result, Stored | Copy)
            assert known.setdefault(each.key, result.seq) == result.seq
        return sum(isinstance(result, Copy) for result in results(answer))

    for _ in range(20):
        with CacheProcess(router, tmp_path, **settings) as cache:
            cache.wait_ready()
            for number in sorted(calls):
                call(router, number, calls[number], retry=True)
            kill_at = time.monotonic() + rng.uniform(0.0, 0.15)
            while time.monotonic() < kill_at:
                while len(calls) < 6:
                    batch = [store(len(sent) + i, rng.choice(TOKENS)) for i in range(rng.choice([1, 5, 50]))]
                    number = len(sent)
                    sent += batch
                    calls[number] = batches[number] = batch
                    call(router, number, batch)
                try:
                    answered_again += take_answer(0.005)
                except queue.Empty:
                    continue
            cache.kill()
            kills += 1
            while not router.answers.empty():  # said before it died
                answered_again += take_answer(0)
    with CacheProcess(router, tmp_path, **settings) as cache:
        cache.wait_ready()
        for number in sorted(calls):
            call(router, number, calls[number], retry=True)
        while calls:
            answered_again += take_answer(DEADLINE_S)
        for token in TOKENS:
            expected = [(known[each.key], each.key, each.payload) for each in sent if each.token == token]
            assert read_all(router, token) == expected
            assert [seq for seq, *_ in expected] == sorted({seq for seq, *_ in expected})
    print(f"{kills} kills, {len(sent)} messages, {answered_again} had been stored and not answered")


def read_all(router, token):
    """(number, key, payload) of all messages of a token."""
    read: list[tuple[int, bytes, bytes]] = []
    more = True
    while more:
        (result,) = ask(router, [Read(token, read[-1][0] if read else 0, 500, 1 << 20)])
        assert isinstance(result, Messages)
        read += [(each.seq, each.key, each.payload) for each in result.messages]
        more = result.more
    return read
