"""services/api/server.py as a process, without a router."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleet.ports import free_ports
from tests.fleet.processes import Started, wait_until

ROOT = Path(__file__).resolve().parents[3]
COMMAND = [sys.executable, "-c", "import sys; from services.main import main; sys.exit(main())"]


def environ_for(api_port: int, **more: str) -> dict[str, str]:
    environ = {key: value for key, value in os.environ.items() if not key.startswith("PUSH_")}
    client_port, sender_port = free_ports(2)
    ports = {"PUSH_API_PORT": api_port, "PUSH_CLIENT_PORT": client_port, "PUSH_SENDER_PORT": sender_port}
    return environ | {key: str(value) for key, value in ports.items()} | {"PYTHONPATH": str(ROOT)} | more


@pytest.fixture
def port() -> int:
    return free_ports(1)[0]


@pytest.fixture
def service(tmp_path: Path, port: int) -> Iterator[Started]:
    started = Started("api", [*COMMAND, "api"], environ_for(port), tmp_path / "log", tmp_path)
    wait_until(lambda: "listening" in started.log, "listening")
    yield started
    started.send(signal.SIGTERM)
    assert started.wait() == 0
    assert "Traceback" not in started.log


def get(port: int, path: str) -> tuple[int, dict[str, object]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


@pytest.mark.usefixtures("service")
def test_lives_without_a_router(port: int) -> None:
    assert get(port, "/health/live") == (200, {"status": "live"})
    assert get(port, "/health/ready")[0] == 503
    status, body = get(port, "/stats")
    assert (status, body["error"]) == (503, "timed_out")


def test_noise_costs_no_traceback(service: Started, port: int) -> None:
    for noise in (
        b"\0\xff" * 100 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /live HTTP/1.1\r\nUpgrade: websocket\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            client.sendall(noise)
            client.shutdown(socket.SHUT_WR)
            while client.recv(4096):
                pass
    assert get(port, "/health/live")[0] == 200
    assert service.running
    wait_until(lambda: "refused a request of 127.0.0.1" in service.log, "the lines are written")

    def scan() -> bool:
        for _ in range(50):
            with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
                client.sendall(b"\0\r\n\r\n")
                while client.recv(4096):
                    pass
        return "lines about malformed requests were left out" in service.log

    wait_until(scan, "a port scanner does not fill the log")
    assert " ERROR " not in service.log
    assert " object" not in service.log


def post(port: int, head: str, body: bytes = b"") -> bytes:
    """All that comes until the other end closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(f"POST /login HTTP/1.1\r\nHost: x\r\n{head}\r\n".encode() + body)
        if body:
            client.shutdown(socket.SHUT_WR)
        said = b""
        while data := client.recv(4096):
            said += data
    return said


@pytest.mark.usefixtures("service")
@pytest.mark.parametrize(
    ("head", "body", "status"),
    [
        ("Content-Length: 1000000000\r\n", b"", b"413"),
        ("", b"", b"411"),
        ("Content-Length: -1\r\n", b"", b"400"),
        ("Content-Length: \u00b2\r\n", b"", b"400"),
        ("Transfer-Encoding: chunked\r\n", b"", b"411"),
        ("Content-Length: 20\r\n", b"{}", b"400"),
        ("Content-Length: 2\r\nContent-Length: 1\r\n", b"{}", b"400"),
        ("Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", b"{}", b"400"),
        ("Host: y\r\nContent-Length: 2\r\n", b"{}", b"400"),
        ("Content-Length : 2\r\n", b"{}", b"400"),
        ("Content-Length: +2\r\n", b"{}", b"400"),
        ("Content-Length: 1_0\r\n", b"{}", b"400"),
        ("X: 1\r\n 2\r\nContent-Length: 2\r\n", b"{}", b"400"),
        ("Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n", b"400"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n", b"400"),
        ("Transfer-Encoding : chunked\r\n", b"0\r\n\r\n", b"400"),
    ],
)
def test_bodies_that_are_not_read(port: int, head: str, body: bytes, status: bytes) -> None:
    """The connection ends with the answer, so that nobody can go on sending."""
    said = post(port, head, body)
    assert said.startswith(b"HTTP/1.1 " + status)
    assert b"Connection: close" in said


@pytest.mark.usefixtures("service")
def test_logins_without_a_router(port: int) -> None:
    said = post(port, "Content-Length: 2\r\nConnection: close\r\n", b"{}")
    assert said.startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After: 1\r\n" in said


@pytest.mark.parametrize("name", ["api", "status"])
def test_port_in_use_costs_one_line(port: int, name: str) -> None:
    command = [*COMMAND, name]
    with socket.create_server(("127.0.0.1", port)):
        done = subprocess.run(command, env=environ_for(port), capture_output=True, text=True, timeout=20, check=False)
    said = f"push-services: api_port: 127.0.0.1:{port} is in use by another process\n"
    assert (done.returncode, done.stderr) == (2, said)
