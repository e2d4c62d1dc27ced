"""What is answered when an engine cannot, and that nothing is half done then."""

import sqlite3
import time
from contextlib import closing

import pytest

from services.storage.messages import Bounds, Swept, Totals, number_at
from services.storage.messages_redis import RedisMessages
from services.storage.messages_sqlite import MIGRATIONS, open_sqlite
from services.storage.sqlite_schema import migrate
from shared.cached_messages import Clear, Copy, Count, Counted, Drop, Dropped, Failed, Read, Store, Stored
from shared.errors import StorageError, StorageUnavailable
from tests.fleet.processes import wait_until
from tests.services.storage.message_stores import location
from tests.services.storage.redis_servers import RedisClusterServers, RedisServer

NOW = 1_700_000_000_000


def store(number, token=b"alice", payload=b"hi"):
    return Store(token, b"key of a message " + bytes([number]), 3, 0, NOW + 60_000, None, "billing", payload)


def at(place):
    """The number of the so manieth message of a token, all of them stored in the same ms."""
    return number_at(NOW) + place - 1


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "messages.db"


@pytest.fixture
def server(tmp_path):
    with RedisServer(tmp_path, appendonly="yes") as started:
        yield started


def test_a_file_of_version_1_is_brought_on_while_a_cache_of_that_version_uses_it(path):
    """It knows nothing of request ids: what it stores has none, and what it takes out takes its own along."""
    path.parent.mkdir()
    row = 1, at(1), store(1).key, 3, 0, NOW + 60_000, 130, None, "billing", b"old"
    with closing(sqlite3.connect(path, isolation_level=None)) as older:
        migrate(older, MIGRATIONS[:1])
        older.execute("INSERT INTO tokens VALUES (1, ?, ?, 1, 130, NULL)", (b"alice", at(1)))
        insert = f"INSERT INTO messages VALUES ({', '.join('?' * len(row))})"
        older.execute(insert, row)
        with closing(open_sqlite(path, "written", Bounds())) as cache:
            cache.apply([store(2)._replace(request_id="order-2"), store(3)._replace(request_id="order-3")], NOW)
            older.execute(insert, (1, at(9), store(9).key, *row[3:]))
            older.execute("DELETE FROM messages WHERE seq = ?", (at(2),))
            (result,) = cache.apply([Read(b"alice", 0, 10, 1000)], NOW)
            assert [(one.seq, one.request_id) for one in result.messages] == [
                (at(1), ""),
                (at(3), "order-3"),
                (at(9), ""),
            ]
        assert older.execute("SELECT seq FROM message_requests").fetchall() == [(at(3),)]


def test_disk_full(path):
    with closing(open_sqlite(path, "written", Bounds())) as cache:
        cache.apply([store(1)], NOW)
        cache._db.execute("PRAGMA max_page_count = 40")
        said = cache.apply([store(2), Drop(b"alice", [at(1)]), Count(b"alice"), store(3, payload=bytes(1 << 20))], NOW)
        failed = Failed("database or disk is full")
        assert said == [failed, failed, Counted(1, 130), failed]
        assert [each.seq for each in cache.apply([Read(b"alice", 0, 10, 1000)], NOW)[0].messages] == [at(1)]
        cache._db.execute("PRAGMA max_page_count = 1000000")
        assert cache.apply([store(1), store(2), Drop(b"alice", [at(1)])], NOW) == [
            Copy(at(1)),
            Stored(at(2), 0),
            Dropped(1),
        ]
        assert cache.totals() == Totals(1, 130)


def test_a_file_that_another_process_keeps_locked(path):
    with closing(open_sqlite(path, "written", Bounds(), 0.1)) as cache, closing(sqlite3.connect(path)) as other:
        cache.apply([store(1)], NOW)
        other.execute("BEGIN IMMEDIATE")
        assert cache.apply([store(2), Clear(b"alice")], NOW) == [Failed("database is locked")] * 2
        assert cache.apply([Count(b"alice")], NOW) == [Counted(1, 130)]
        with pytest.raises(StorageError):
            cache.sweep(NOW, 100)
        other.rollback()
        assert cache.apply([store(2), Clear(b"alice")], NOW)[0] == Stored(at(2), 0)
        assert cache.sweep(NOW, 100) == Swept(0, False)


def test_a_file_of_another_program(path):
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE theirs (x)")
    with pytest.raises(StorageError, match="of something else"):
        open_sqlite(path, "written", Bounds())
    with closing(sqlite3.connect(path)) as other:
        assert [name for (name,) in other.execute("SELECT name FROM sqlite_master")] == ["theirs"]


def test_two_processes_may_use_one_file(path):
    with closing(open_sqlite(path, "written", Bounds())) as one, closing(open_sqlite(path, "fsynced", Bounds())) as two:
        assert one.apply([store(1)], NOW) == [Stored(at(1), 0)]
        assert two.apply([store(1), store(2)], NOW) == [Copy(at(1)), Stored(at(2), 0)]
        assert one.apply([store(3)], NOW) == [Stored(at(3), 0)]
        assert two.totals() == Totals(3, 390)


def test_a_file_becomes_corrupt_while_it_is_used(path):
    with closing(open_sqlite(path, "written", Bounds())) as cache:
        cache.apply([store(i, payload=bytes(3000)) for i in range(200)], NOW)
        cache._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        cache._db.execute("PRAGMA shrink_memory")
        content = bytearray(path.read_bytes())
        content[8192:] = b"\xee" * (len(content) - 8192)
        path.write_bytes(content)
        said = cache.apply([store(250), Read(b"alice", 0, 10, 1000)], NOW)
        assert all(isinstance(each, Failed) for each in said), said


def test_redis_is_gone_and_comes_back(server):
    cache = RedisMessages(location(server.url), "written", Bounds())
    assert cache.apply([store(1), store(2, b"bob")], NOW) == [Stored(at(1), 0)] * 2
    server.kill()
    said = cache.apply([store(3), Read(b"alice", 0, 10, 1000)], NOW)
    assert [type(each) for each in said] == [Failed, Failed]
    assert str(location(server.url)) in said[0].message
    with pytest.raises(StorageError):
        cache.sweep(NOW, 100)
    server.start()
    assert cache.apply([store(1), store(3)], NOW) == [Copy(at(1)), Stored(at(2), 0)]
    server.client().flushall()  # and empty
    server.client().script_flush()
    assert cache.apply([store(1)], NOW + 1) == [Stored(number_at(NOW + 1), 0)]
    assert cache.apply([Drop(b"alice", [at(1), at(2)])], NOW + 1) == [Dropped(0)]  # an old acknowledgement
    cache.sweep(NOW, 100)
    assert cache.totals() == Totals(1, 130)


def test_redis_is_not_there_at_start(server):
    server.kill()
    with pytest.raises(StorageUnavailable):
        RedisMessages(location(server.url), "written", Bounds())


def test_redis_without_memory_stores_nothing_of_a_message(server):
    cache = RedisMessages(location(server.url), "written", Bounds())
    cache.apply([store(1)], NOW)
    server.client().config_set("maxmemory", 1)
    failed, read = cache.apply([store(2), Read(b"alice", 0, 10, 1000)], NOW)
    assert "OutOfMemory" in failed.message
    assert [each.seq for each in read.messages] == [at(1)]
    assert cache.apply([Count(b"alice"), Drop(b"alice", [at(1)])], NOW) == [Counted(1, 130), Dropped(1)]
    server.client().config_set("maxmemory", 0)
    assert cache.apply([Count(b"alice"), store(2)], NOW) == [Counted(0, 0), Stored(at(2), 0)]


def test_redis_is_slow_and_a_repeat_tells_what_was_done(server):
    cache = RedisMessages(location(server.url), "written", Bounds(), answer_s=0.3)
    cache.apply([store(1)], NOW)
    server.client().client_pause(700)
    (said,) = cache.apply([store(2)], NOW)
    assert isinstance(said, Failed)
    deadline = time.monotonic() + 20
    while isinstance(said, Failed) and time.monotonic() < deadline:
        (said,) = cache.apply([store(2)], NOW)
    assert said in (Stored(at(2), 0), Copy(at(2)))


def test_a_cluster_fails_over_and_a_repeat_tells_what_was_done(tmp_path):
    options = {"cluster_node_timeout": 1000, "repl_diskless_sync_delay": 0}
    tokens = [b"t%d" % number for number in range(30)]
    with RedisClusterServers(tmp_path, **options) as servers, servers.add_replica(1) as replica:
        everybody = [node.client() for node in (*servers.nodes, replica)]
        wait_until(lambda: all("slave" in str(each.execute_command("CLUSTER NODES")) for each in everybody), "all know")
        cache = RedisMessages(location(servers.url), "memory", Bounds(), answer_s=0.5)
        assert cache.apply([store(1, token) for token in tokens], NOW) == [Stored(at(1), 0)] * 30
        wait_until(lambda: replica.client().dbsize() == servers.nodes[1].client().dbsize(), "the replica has all")
        servers.nodes[1].kill()
        said = cache.apply([store(2, token) for token in tokens], NOW)
        assert {type(each) for each in said} <= {Stored, Failed}
        wait_until(
            lambda: {type(each) for each in cache.apply([store(2, token) for token in tokens], NOW)} == {Copy},
            "the replica has taken over",
        )
        counts = cache.apply([Count(token) for token in tokens], NOW)
        assert counts == [Counted(2, 260)] * 30
        cache.close()
