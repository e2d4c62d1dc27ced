"""What Redis can meet: servers that are gone, silent, empty, full or of another mind; and other ways to reach one."""

import logging
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from services.storage.interfaces import Session, Storage
from services.storage.redis_connections import is_open_to_others
from services.storage.redis_schema import MIGRATIONS
from services.storage.redis_storage import RedisStorage
from shared.errors import StorageError, StorageUnavailable
from tests.fleet.processes import wait_until
from tests.services.storage.conftest import location
from tests.services.storage.redis_servers import HOST, RedisClusterServers, RedisServer

NOW = 1_800_000_000.0
SESSION = Session("u", "c", "secret", "usertoken", NOW, None)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """One of this test alone, which writes all to its file."""
    with RedisServer(tmp_path / "redis", appendonly="yes") as started:
        yield started


def opened(
    server: RedisServer | RedisClusterServers, durability: str = "written", answer_s: float = 2.0
) -> RedisStorage:
    return RedisStorage(location(server.url), durability, answer_s)


def test_gone_and_back(server: RedisServer) -> None:
    with opened(server) as storage:
        storage.sessions.put(SESSION, NOW)
        server.kill()
        for call in calls(storage):
            with pytest.raises(StorageUnavailable, match=str(location(server.url))):
                call()
        server.start()
        assert storage.sessions.get("u", "c") == SESSION
        assert storage.groups.create("g", "u")


def calls(storage: Storage) -> list[Callable[[], object]]:
    """One of each part."""
    return [
        lambda: storage.sessions.put(SESSION, NOW),
        lambda: storage.users.user_by_mobile("139", lambda: "u"),
        lambda: storage.devices.of("u"),
        lambda: storage.groups.members("g"),
        lambda: storage.limits.tries("k", 60, NOW),
        lambda: storage.codes.get("k", NOW),
    ]


def test_restart_between_two_calls_goes_unnoticed(server: RedisServer) -> None:
    with opened(server) as storage:
        storage.sessions.put(SESSION, NOW)
        server.kill()
        server.start()
        assert storage.groups.create("g", "u")  # by a script, which the new server does not know
        assert storage.sessions.get("u", "c") == SESSION


def test_restarted_empty_is_said_and_begins_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with RedisServer(tmp_path) as server, opened(server, "memory") as storage:
        storage.sessions.put(SESSION, NOW)
        server.kill()
        server.start()
        assert storage.sessions.get("u", "c") is None
        storage.sessions.put(SESSION, NOW)
        assert "redis is empty" in caplog.text
        assert server.client().get("push:schema") == str(len(MIGRATIONS))


def test_silent_server_holds_nobody_up_for_long(server: RedisServer) -> None:
    with opened(server, answer_s=0.2) as storage:
        os.kill(server.pid, signal.SIGSTOP)
        try:
            started = time.monotonic()
            with pytest.raises(StorageUnavailable):
                storage.sessions.get("u", "c")
            assert time.monotonic() - started < 10  # a fifth of a second, on a machine that is not busy
        finally:
            os.kill(server.pid, signal.SIGCONT)
        wait_until(lambda: answers(storage), "an answer")


def answers(storage: Storage) -> bool:
    try:
        return storage.sessions.get("u", "c") is None
    except StorageUnavailable:
        return False


def test_slow_server_is_waited_for(server: RedisServer) -> None:
    with opened(server) as storage, ThreadPoolExecutor(1) as pool:
        sleeping = pool.submit(server.client().execute_command, "DEBUG SLEEP", 0.3)
        assert storage.groups.create("g", "u")
        sleeping.exception()


def test_not_there_at_the_start(server: RedisServer) -> None:
    server.kill()
    with pytest.raises(StorageUnavailable):
        opened(server)


def test_full_memory_refuses_what_is_new(server: RedisServer) -> None:
    with opened(server) as storage:
        storage.sessions.put(SESSION, NOW)
        server.client().config_set("maxmemory", 1)
        with pytest.raises(StorageUnavailable):
            storage.users.block("u", True)
        assert storage.sessions.get("u", "c") == SESSION


def test_replica_that_a_failover_has_left_refuses_what_is_new(server: RedisServer, tmp_path: Path) -> None:
    with RedisServer(tmp_path / "other") as other, opened(server) as storage:
        storage.sessions.put(SESSION, NOW)
        server.client().replicaof(HOST, other.port)
        with pytest.raises(StorageUnavailable):
            storage.users.block("u", True)
        server.client().replicaof("NO", "ONE")
        storage.users.block("u", True)


def test_something_else_at_the_port() -> None:
    with socket.create_server((HOST, 0)) as listener, ThreadPoolExecutor(1) as pool:

        def talk() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.recv(1000)
                peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        talking = pool.submit(talk)
        with pytest.raises(StorageError):
            RedisStorage(location(f"redis://{HOST}:{listener.getsockname()[1]}/0"), answer_s=0.5)
        talking.result(20)


@pytest.mark.parametrize(
    ("version", "reason"),
    [(str(len(MIGRATIONS) + 1), f"newer than {len(MIGRATIONS)}"), ("their own", "another program")],
)
def test_other_version_is_left_alone(server: RedisServer, version: str, reason: str) -> None:
    server.client().set("push:schema", version)
    with pytest.raises(StorageError, match=reason):
        opened(server)
    assert server.client().keys("*") == ["push:schema"]


def test_server_that_cannot_keep_the_promise_is_refused(server: RedisServer) -> None:
    with pytest.raises(StorageError, match="appendfsync is no"):
        opened(server, "fsynced")
    server.client().config_set("appendfsync", "always")
    opened(server, "fsynced").close()
    server.client().config_set("appendonly", "no")
    with pytest.raises(StorageError, match="appendonly is off"):
        opened(server, "fsynced")


def test_server_that_may_lose_things_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with RedisServer(tmp_path, maxmemory="100mb", maxmemory_policy="allkeys-lru") as server:
        opened(server, "written").close()
    assert "appendonly is off" in caplog.text
    assert "allkeys-lru" in caplog.text


def test_server_that_does_not_tell_its_configuration(server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    server.client().execute_command("ACL SETUSER", "app", "on", ">pw", "~*", "+@all", "-config")
    url = server.url.replace("redis://", "redis://app:pw@")
    with RedisStorage(location(url), "fsynced") as storage:
        assert storage.groups.create("g", "u")
    assert "does not tell its configuration" in caplog.text


def test_password(server: RedisServer, tmp_path: Path) -> None:
    server.client().config_set("requirepass", "p@ss:/?#")
    (tmp_path / "password").write_text("p@ss:/?#\n")
    for place in (
        f"redis://:p%40ss%3A%2F%3F%23@{HOST}:{server.port}/0",
        f"{server.url}?password_file={tmp_path}/password",
    ):
        with RedisStorage(location(place)) as storage:
            assert not storage.groups.exists("g")
    for place in (server.url, f"redis://:wrong@{HOST}:{server.port}/0"):
        with pytest.raises(StorageError) as raised:
            RedisStorage(location(place))
        assert not isinstance(raised.value, StorageUnavailable)
        assert "wrong@" not in str(raised.value)
    with pytest.raises(StorageError, match="cannot be read"):
        RedisStorage(location(f"{server.url}?password_file={tmp_path}/none"))


def test_prefixes_and_databases_keep_fleets_apart(server: RedisServer) -> None:
    urls = [server.url, f"{server.url}?prefix=other", f"redis://{HOST}:{server.port}/1"]
    for url in urls:
        with RedisStorage(location(url)) as storage:
            assert storage.groups.create("g", url)
    for url in urls:
        with RedisStorage(location(url)) as storage:
            assert storage.groups.owner("g") == url


def test_unix_socket(tmp_path: Path) -> None:
    with (
        RedisServer(tmp_path, unixsocket=tmp_path / "r.sock"),
        RedisStorage(location(f"unix://{tmp_path}/r.sock")) as kept,
    ):
        assert kept.groups.create("g", "u")


def test_tls(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    files = {"tls_cert_file": certificate, "tls_key_file": key, "tls_ca_cert_file": certificate}
    with RedisServer(tmp_path / "redis") as plain:
        port = plain.port
    with RedisServer(tmp_path / "redis", tls_port=port, tls_auth_clients="no", **files):
        place = f"rediss://{HOST}:{port}/0"
        with RedisStorage(location(f"{place}?ca_file={certificate}"), "memory") as storage:
            assert storage.groups.create("g", "u")
        with pytest.raises(StorageError, match=r"(?i)certificate"):
            RedisStorage(location(place), "memory")


def make_certificate(directory: Path) -> tuple[Path, Path]:
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    options = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=redis"]
    names = ["-addext", f"subjectAltName=IP:{HOST}", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(["openssl", "req", "-x509", *options, *names], check=True, capture_output=True)
    return certificate, key


def test_plain_link_over_a_network_is_warned_of() -> None:
    assert is_open_to_others(location("redis://10.0.0.5:6379/0"))
    assert is_open_to_others(location("redis-cluster://127.0.0.1:1,redis.example:2"))
    assert not is_open_to_others(location("rediss://10.0.0.5:6379/0"))
    assert not is_open_to_others(location("redis://localhost:6379/0"))
    assert not is_open_to_others(location("unix:///run/redis.sock"))


@pytest.mark.parametrize("kind", ["redis_server", "redis_cluster"])
def test_two_instances_make_one_user_for_a_number(request: pytest.FixtureRequest, kind: str) -> None:
    servers = request.getfixturevalue(kind)
    servers.flush()
    with opened(servers, "memory") as one, opened(servers, "memory") as two:
        for mobile in range(30):
            with ThreadPoolExecutor(2) as pool:
                made = [
                    pool.submit(each.users.user_by_mobile, str(mobile), lambda number=number: f"u{number}")
                    for number, each in enumerate((one, two))
                ]
            assert len({uid for uid, _ in (each.result() for each in made)}) == 1
            assert [is_new for _, is_new in (each.result() for each in made)].count(True) == 1


def test_cluster_that_has_lost_a_node(tmp_path: Path) -> None:
    with RedisClusterServers(tmp_path) as servers, opened(servers, "memory", 0.5) as storage:
        uids = [f"u{number}" for number in range(30)]
        for uid in uids:
            storage.users.block(uid, True)
        servers.nodes[1].kill()
        said = [is_blocked(storage, uid) for uid in uids]
        assert None in said
        assert False not in said
        servers.nodes[1].start()
        wait_until(lambda: None not in [is_blocked(storage, uid) for uid in uids], "the cluster is whole again")


def test_cluster_fails_over(tmp_path: Path) -> None:
    options = {"cluster_node_timeout": 1000, "repl_diskless_sync_delay": 0}
    with RedisClusterServers(tmp_path, **options) as servers, servers.add_replica(1) as replica:
        primaries = [node.client() for node in (*servers.nodes, replica)]
        wait_until(lambda: all("slave" in str(each.execute_command("CLUSTER NODES")) for each in primaries), "all know")
        with opened(servers, "memory", 0.5) as storage:
            uids = [f"u{number}" for number in range(30)]
            for uid in uids:
                storage.users.block(uid, True)
            wait_until(lambda: replica.client().dbsize() == servers.nodes[1].client().dbsize(), "the replica has all")
            servers.nodes[1].kill()
            wait_until(lambda: None not in [is_blocked(storage, uid) for uid in uids], "the replica has taken over")
            assert all(is_blocked(storage, uid) for uid in uids)
            for uid in uids:
                storage.users.block(uid, False)
            assert not any(is_blocked(storage, uid) for uid in uids)


def test_silent_node_of_a_cluster_holds_nobody_up_for_long(tmp_path: Path) -> None:
    with RedisClusterServers(tmp_path) as servers, opened(servers, "memory", 0.2) as storage:
        uids = [f"u{number}" for number in range(30)]
        os.kill(servers.nodes[1].pid, signal.SIGSTOP)
        started = time.monotonic()
        said = [is_blocked(storage, uid) for uid in uids]
        assert time.monotonic() - started < 60  # 4 s, on a machine that is not busy
        os.kill(servers.nodes[1].pid, signal.SIGCONT)
        assert said.count(False) > 10
        assert None in said
        wait_until(lambda: None not in [is_blocked(storage, uid) for uid in uids], "all nodes answer")


def is_blocked(storage: Storage, uid: str) -> bool | None:
    """None: it cannot be said."""
    try:
        return storage.users.is_blocked(uid)
    except StorageUnavailable:
        return None


def test_kept_when_the_server_is_killed(server: RedisServer) -> None:
    with opened(server) as storage:
        for number in range(200):
            storage.sessions.put(SESSION._replace(client_identifier=f"c{number}"), NOW)
            storage.devices.add("u", f"t{number}", "v2", NOW)
        server.kill()
        server.start()
        assert len(storage.sessions.by_uid("u")) == 200
        assert len(storage.devices.of("u")) == 200
