"""What SQLite can meet: files that it must leave alone, others that write, a full disk, sudden ends."""

import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from services.storage.interfaces import Session
from services.storage.sqlite_schema import MIGRATIONS, migrate, version_of
from services.storage.sqlite_storage import SqliteStorage
from shared.errors import StorageError, StorageUnavailable
from tests.docs.documents import ROOT

NOW = 1_800_000_000.0
SESSION = Session("u", "c", "secret", "usertoken", NOW, None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Of a file with something in it."""
    path = tmp_path / "state" / "push.db"
    with SqliteStorage(path) as storage:
        storage.sessions.put(SESSION, NOW)
        storage.groups.create("g", "u")
        storage.groups.join("g", (f"token {number}" for number in range(5000)), [])
    return path


def overwrite_middle(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[8192:-4096] = random.Random(1).randbytes(len(content) - 8192 - 4096)
    path.write_bytes(content)


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10_000])


def write_text(path: Path) -> None:
    path.write_text("not a database at all\n" * 1000)


def write_newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")


def write_other(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE theirs (x)")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (overwrite_middle, "corrupt"),
        (cut_off, "corrupt"),
        (write_text, "corrupt"),
        (write_newer, "newer than"),
        (write_other, "something else"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_file_that_cannot_be_used_is_left_alone(path: Path, damage: Callable[[Path], None], reason: str) -> None:
    damage(path)
    before = path.read_bytes()
    with pytest.raises(StorageError, match=reason) as raised:
        SqliteStorage(path)
    assert not isinstance(raised.value, StorageUnavailable)
    assert path.read_bytes() == before


def test_file_that_was_made_and_never_written_is_new(tmp_path: Path) -> None:
    (tmp_path / "push.db").touch()
    with SqliteStorage(tmp_path / "push.db") as storage:
        assert storage.groups.create("g", "u")


def test_file_and_directory_are_their_owners_alone(path: Path) -> None:
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(StorageError, match="cannot be made"):
        SqliteStorage(tmp_path / "state" / "push.db")


def test_place_that_cannot_be_written() -> None:
    with pytest.raises(StorageError):
        SqliteStorage(Path("/proc/self/push.db"))


def test_another_process_keeps_it_locked(path: Path) -> None:
    with SqliteStorage(path, busy_s=0.1) as storage, closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageUnavailable, match="locked"):
            storage.sessions.put(SESSION._replace(secret="other"), NOW)
        assert storage.sessions.get("u", "c") == SESSION  # who reads does not wait
        other.execute("ROLLBACK")
        assert storage.sessions.delete("u", "c")


def test_locked_at_the_start(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StorageUnavailable, match="locked"):
            SqliteStorage(path, busy_s=0.1)


def test_disk_full(tmp_path: Path) -> None:
    path = tmp_path / "push.db"
    done = run_writer("fill", path)
    tried, kept, refuses_again = done.stdout.split()
    assert int(tried) == int(kept) > 10
    assert refuses_again == "True"
    with SqliteStorage(path) as storage:
        assert len(storage.sessions.by_uid("u")) == int(kept)
        storage.sessions.put(SESSION, NOW)


def test_becomes_corrupt_while_it_is_used(path: Path) -> None:
    with SqliteStorage(path) as storage:
        overwrite_middle(path)
        with pytest.raises(StorageError, match=r"corrupt|malformed"):
            storage.groups.members("g")


def test_nothing_that_was_kept_is_lost_by_sudden_ends(tmp_path: Path) -> None:
    path, chance, kept = tmp_path / "push.db", random.Random(4), -1
    for _ in range(20):
        kept = max(kept, written_until_killed(path, kept + 1, chance.randrange(1, 60)))
        with SqliteStorage(path) as storage:
            clients = {session.client_identifier for session in storage.sessions.by_uid("u")}
            assert {f"c{number}" for number in range(kept + 1)} <= clients
            tokens = set(storage.groups.members("g").tokens)
            assert {f"t{number}-{each}" for number in range(kept + 1) for each in range(20)} <= tokens
            assert len(tokens) % 20 == 0  # those of one call come together
            assert storage.connection.read("PRAGMA integrity_check") == [("ok",)]
    assert kept > 20


def written_until_killed(path: Path, first: int, lines: int) -> int:
    """The last number that a process said before it was killed, after so many."""
    command = [sys.executable, "-m", "tests.services.storage.writers", "write", str(path), str(first)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout
        said = [writer.stdout.readline() for _ in range(lines)]
        writer.send_signal(signal.SIGKILL)
        said += writer.stdout.read().split("\n")[:-1]
    return int(said[-1])


def run_writer(kind: str, path: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "tests.services.storage.writers", kind, str(path)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)


def test_dismissal_that_was_cut_off_is_finished_at_the_next_start(path: Path) -> None:
    with SqliteStorage(path) as storage, storage.connection.write() as transaction:
        transaction.change("INSERT INTO dismissed SELECT number FROM groups")
        transaction.change("DELETE FROM groups")
    with SqliteStorage(path) as storage:
        assert storage.connection.read("SELECT count(*) FROM members") == [(0,)]
        assert storage.connection.read("SELECT count(*) FROM dismissed") == [(0,)]


def test_two_instances_make_one_user_for_a_number(tmp_path: Path) -> None:
    with SqliteStorage(tmp_path / "push.db") as one, SqliteStorage(tmp_path / "push.db") as two:
        for mobile in range(30):
            with ThreadPoolExecutor(2) as pool:
                made = [
                    pool.submit(each.users.user_by_mobile, str(mobile), lambda i=i: f"u{i}")
                    for i, each in enumerate((one, two))
                ]
            assert len({uid for uid, _ in (each.result() for each in made)}) == 1
            assert [is_new for _, is_new in (each.result() for each in made)].count(True) == 1


def test_instances_that_start_at_once_make_the_file_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(lambda _: SqliteStorage(tmp_path / "push.db"), range(8)))
    for storage in opened:
        storage.close()


def test_steps_to_this_version_are_gone_in_order_and_whole(tmp_path: Path) -> None:
    steps = (("CREATE TABLE a (x)",), ("ALTER TABLE a RENAME TO b", "INSERT INTO b VALUES (1)"))
    with closing(sqlite3.connect(tmp_path / "a.db", isolation_level=None)) as database:
        migrate(database, steps[:1])
        with pytest.raises(sqlite3.Error):
            migrate(database, (steps[0], (*steps[1], "NO SQL")))
        assert version_of(database) == 1
        assert database.execute("SELECT count(*) FROM a").fetchone() == (0,)
        migrate(database, steps)
        assert version_of(database) == 2
        assert database.execute("SELECT x FROM b").fetchall() == [(1,)]
        with pytest.raises(StorageError, match="newer"):
            migrate(database, steps[:1])


@pytest.mark.parametrize(("durability", "synchronous"), [("memory", 0), ("written", 1), ("fsynced", 2)])
def test_durability(tmp_path: Path, durability: str, synchronous: int) -> None:
    with SqliteStorage(tmp_path / "push.db", durability) as storage:
        assert storage.connection.read("PRAGMA synchronous") == [(synchronous,)]
        assert storage.connection.read("PRAGMA journal_mode") == [("wal",)]


def test_copy_that_sqlite_makes_is_a_backup(path: Path, tmp_path: Path) -> None:
    with SqliteStorage(path) as storage:
        copy = tmp_path / "copy.db"
        storage.connection.read("VACUUM INTO ?", str(copy))
        storage.sessions.delete("u", "c")
    shutil.copy(copy, path)
    with SqliteStorage(path) as storage:
        assert storage.sessions.get("u", "c") == SESSION
