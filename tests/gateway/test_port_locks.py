"""gateway/port_locks.py over real locks and sockets."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.port_locks import address_text, family_of, take_port_lock
from shared.errors import SettingsError
from tests.fleet.ports import free_ports

HOST = "127.0.0.1"
ROOT = Path(__file__).resolve().parents[2]

#: A process that takes the lock, says so, and holds it until its input ends.
JOIN = """
import sys
from gateway.port_locks import take_port_lock
host, port, fleet = sys.argv[1:]
take_port_lock(host, int(port), fleet)
print(fleet, flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _own_lock_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


@pytest.fixture
def port() -> int:
    return free_ports(1)[0]


@pytest.fixture
def foreign() -> Iterator[socket.socket]:
    with socket.socket() as listener:
        yield listener


def refusal(host: str, port: int, data_dir: str) -> str:
    with pytest.raises(SettingsError) as caught:
        take_port_lock(host, port, data_dir)
    return str(caught.value)


def test_processes_of_one_fleet_share_the_lock(port: int) -> None:
    descriptors = [take_port_lock(HOST, port, "/a/b") for _ in range(3)]
    assert len(set(descriptors)) == 3


def test_another_fleet_is_refused_until_the_last_process_is_gone(port: int) -> None:
    descriptors = [take_port_lock(HOST, port, "/a/b") for _ in range(2)]
    for descriptor in descriptors:
        assert refusal(HOST, port, "/x/y") == f"client_port: {HOST}:{port} is in use by the fleet of /a/b"
        os.close(descriptor)
    os.close(take_port_lock(HOST, port, "/x/y"))


def test_fleet_is_known_by_its_real_path(tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "var").mkdir()
    (tmp_path / "link").symlink_to("var")
    monkeypatch.chdir(tmp_path)
    take_port_lock(HOST, port, "./var")
    take_port_lock(HOST, port, str(tmp_path / "link"))
    assert str(tmp_path / "var") in refusal(HOST, port, "elsewhere")


def test_localhost_is_127_0_0_1(port: int) -> None:
    take_port_lock("localhost", port, "/a")
    assert f"{HOST}:{port}" in refusal(HOST, port, "/b")


def test_other_ports_and_addresses_are_free() -> None:
    first, second = free_ports(2)
    take_port_lock(HOST, first, "/a")
    take_port_lock(HOST, second, "/b")
    take_port_lock("127.0.0.2", first, "/b")


@pytest.mark.parametrize("reuse", [0, 1])
def test_another_program_is_seen(port: int, foreign: socket.socket, reuse: int) -> None:
    foreign.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    foreign.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, reuse)
    foreign.bind((HOST, port))
    foreign.listen()
    assert refusal(HOST, port, "/a") == f"client_port: {HOST}:{port} is in use by another process"
    foreign.close()
    take_port_lock(HOST, port, "/a")


def test_a_fleet_on_all_addresses_is_seen(port: int, foreign: socket.socket) -> None:
    foreign.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    foreign.bind(("0.0.0.0", port))
    foreign.listen()
    assert "in use by another process" in refusal(HOST, port, "/a")


def test_closed_connections_of_an_earlier_run_do_not_matter(port: int) -> None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen()
        client = socket.create_connection((HOST, port))
        accepted, _ = listener.accept()
        accepted.close()  # the server first: its end stays in TIME_WAIT
        assert client.recv(1) == b""
        client.close()
    take_port_lock(HOST, port, "/a")


def test_of_two_fleets_at_once_one_wins(port: int) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", JOIN, HOST, str(port), fleet],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for fleet in ["/a", "/b"] * 3
    ]
    try:
        winners = [process.stdout.readline().strip() for process in processes if process.stdout]
    finally:
        for process in processes:
            process.communicate()
    assert sorted(winners) in (["", "", "", "/a", "/a", "/a"], ["", "", "", "/b", "/b", "/b"])


def test_lock_directory_of_others_is_refused(tmp_path: Path, port: int) -> None:
    directory = tmp_path / f"push-gateway-{os.getuid()}"
    directory.mkdir(mode=0o755)
    assert "is not this user's own with mode 0700" in refusal(HOST, port, "/a")
    directory.rmdir()
    directory.symlink_to("/tmp")
    assert "lock directory" in refusal(HOST, port, "/a")


def test_address_that_is_not_this_machines() -> None:
    assert refusal("192.0.2.1", 6789, "/a") == "host: 192.0.2.1:6789: cannot assign requested address"


def test_addresses_in_words() -> None:
    assert address_text("::1", 80) == "[::1]:80"
    assert address_text(HOST, 80) == "127.0.0.1:80"
    assert (family_of("::1"), family_of(HOST)) == (socket.AF_INET6, socket.AF_INET)
