"""Settings that cannot work: the process refuses to start, with one line that names the key and the reason."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from tests.clients.kinds import connect
from tests.clients.senders import OFFLINE, SENT, RawSender
from tests.fleet.conftest import StartFleet
from tests.fleet.fleet_process import Fleet
from tests.fleet.processes import wait_until

BAD_SETTINGS = 2

COMMANDS = {
    "router": ("router.main", []),
    "gateway": ("gateway.launch", ["--index", "0"]),
    "status": ("services.main", ["status"]),
}
every_process = pytest.mark.parametrize("process", COMMANDS)


@pytest.fixture
def never_started() -> Iterator[Fleet]:
    """Directory, ports and environment of a fleet of which nothing runs."""
    fleet = Fleet()
    yield fleet
    fleet.stop()


def refusal(process: str, environ: dict[str, str]) -> str:
    """The one line with which a process refuses to start, without the name of the program."""
    module, arguments = COMMANDS[process]
    code = f"import sys; from {module} import main; sys.exit(main())"
    started = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = started.communicate(timeout=20)
    except subprocess.TimeoutExpired:
        os.killpg(started.pid, signal.SIGKILL)
        output, errors = started.communicate()
        raise AssertionError(f"{process} has not refused to start: {output}{errors}") from None
    assert started.returncode == BAD_SETTINGS, f"status {started.returncode}: {output}{errors}"
    assert output == ""
    assert errors.count("\n") == 1, errors
    program, _, line = errors.partition(": ")
    assert program.startswith("push-")
    return line


WRONG: dict[str, tuple[dict[str, str], str, str]] = {
    # variables, the key that is named, a word of the reason
    "unknown key": ({"PUSH_NO_SUCH": "1"}, "PUSH_NO_SUCH", "unknown"),
    "unknown key in lower case": ({"PUSH_workers": "1"}, "PUSH_workers", "unknown"),
    "text for a number": ({"PUSH_WORKERS": "two"}, "PUSH_WORKERS", "whole number"),
    "float for a number": ({"PUSH_CLIENT_PORT": "6789.0"}, "PUSH_CLIENT_PORT", "whole number"),
    "empty number": ({"PUSH_CLIENT_PORT": ""}, "PUSH_CLIENT_PORT", "whole number"),
    "number too small": ({"PUSH_CLIENT_PORT": "0"}, "PUSH_CLIENT_PORT", "from 1"),
    "number too large": ({"PUSH_SENDER_PORT": "65536"}, "PUSH_SENDER_PORT", "65535"),
    "text for a flag": ({"PUSH_AUTH_REQUIRED": "perhaps"}, "PUSH_AUTH_REQUIRED", "true or false"),
    "no such choice": ({"PUSH_LOG_LEVEL": "LOUD"}, "PUSH_LOG_LEVEL", "none of"),
    "no address": ({"PUSH_HOST": "example.invalid"}, "host", "not an IP address"),
    "no network": ({"PUSH_TRUSTED_PROXIES": "10.0.0.0/33"}, "trusted_proxies", ""),
    "no host name": ({"PUSH_HOST_NAME": "a/b"}, "host_name", "host name"),
    "the same port twice": ({"PUSH_CLIENT_PORT": "7000", "PUSH_SENDER_PORT": "7000"}, "client_port", "differ"),
    "deadlines the wrong way round": ({"PUSH_HEARTBEAT_MIN_S": "601"}, "heartbeat_min_s", "601"),
    "required credentials without keys": ({"PUSH_AUTH_REQUIRED": "1"}, "auth_required", "auth_keys_file"),
    "no such file": ({"PUSH_CONFIG": "/nowhere/push.toml"}, "PUSH_CONFIG", "no such file"),
}


@every_process
@pytest.mark.parametrize("name", WRONG)
def test_wrong_settings(never_started: Fleet, process: str, name: str) -> None:
    variables, key, reason = WRONG[name]
    line = refusal(process, never_started.environ | variables)
    assert line.startswith(f"{key}: ")
    assert reason in line


FILES = {
    "not TOML": ("workers = = 2", "PUSH_CONFIG"),
    "unknown key": ("no_such = 1", "no_such"),
    "wrong type": ('workers = "2"', "workers"),
    "a flag for a number": ("workers = true", "workers"),
    "out of bounds": ("workers = 0", "workers"),
    "a table": ("[workers]\na = 1", "workers"),
}


@every_process
@pytest.mark.parametrize("name", FILES)
def test_wrong_file(never_started: Fleet, process: str, name: str) -> None:
    text, key = FILES[name]
    path = never_started.directory / "push.toml"
    path.write_text(text)
    environ = never_started.environ | {"PUSH_CONFIG": str(path)}
    del environ["PUSH_HOST_NAME"]
    assert refusal(process, environ).startswith(f"{key}: ")


@pytest.mark.parametrize("process", ["router", "gateway"])
def test_directory_that_cannot_be_written(never_started: Fleet, process: str) -> None:
    """Below a file nobody can make a directory, not even root."""
    (never_started.directory / "file").write_text("")
    path = str(never_started.directory / "file" / "var")
    line = refusal(process, never_started.environ | {"PUSH_DATA_DIR": path})
    assert line.startswith("data_dir: ")
    assert "not a directory" in line


@pytest.mark.parametrize("process", ["router", "gateway"])
def test_directory_too_long_for_its_sockets(never_started: Fleet, process: str) -> None:
    line = refusal(process, never_started.environ | {"PUSH_DATA_DIR": str(never_started.directory / ("d" * 100))})
    assert line.startswith("data_dir: ")
    assert "107 bytes" in line


# --- ports in use


@pytest.mark.parametrize(
    ("process", "key"), [("gateway", "client_port"), ("router", "sender_port"), ("status", "api_port")]
)
def test_port_in_use_by_a_stranger(never_started: Fleet, process: str, key: str) -> None:
    port = getattr(never_started.settings, key)
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # SO_REUSEPORT alone would let both have it
        stranger.bind(("127.0.0.1", port))
        stranger.listen()
        line = refusal(process, never_started.environ)
    assert line.startswith(f"{key}: ")
    assert str(port) in line
    assert "in use" in line


@pytest.mark.parametrize(("process", "key"), [("gateway", "client_port"), ("router", "sender_port")])
def test_port_in_use_by_another_fleet_of_this_user(
    shared_fleet: Fleet, never_started: Fleet, process: str, key: str
) -> None:
    port = getattr(shared_fleet.settings, key)
    line = refusal(process, never_started.environ | {f"PUSH_{key.upper()}": str(port)})
    assert line.startswith(f"{key}: ")
    assert str(port) in line
    with connect("v2", shared_fleet.address) as client:
        assert client.ping(30) == 30


@pytest.mark.parametrize("process", ["router", "gateway"])
def test_second_process_in_the_same_directory(shared_fleet: Fleet, process: str) -> None:
    line = refusal(process, shared_fleet.environ)
    assert line.startswith(("data_dir: ", "sender_port: "))


def test_two_fleets_do_not_disturb_each_other(start_fleet: StartFleet) -> None:
    one, other = start_fleet(), start_fleet()
    clients = []
    for fleet in (one, other):
        client = connect("v2", fleet.address)
        client.subscribe("same-name")
        clients.append(client)
    for number, fleet in enumerate((one, other)):
        with RawSender(fleet.endpoint) as sender:
            assert sender.push("same-name", b"%d" % number) == SENT
    for number, client in enumerate(clients):
        with client:
            assert client.read_push().body == b"%d" % number
            assert client.wire.silent_for(0.1)


# --- endpoints that are not loopback


@pytest.mark.parametrize("variables", [{"PUSH_HOST": "0.0.0.0"}, {"PUSH_SENDER_HOST": "0.0.0.0"}])
def test_sender_endpoint_for_everybody_needs_keys(never_started: Fleet, variables: dict[str, str]) -> None:
    line = refusal("router", never_started.environ | variables)
    assert line.startswith("sender_host: " if "PUSH_SENDER_HOST" in variables else "host: ")
    assert "curve_server_key_file" in line


@every_process
@pytest.mark.parametrize(
    ("endpoint", "reason"),
    [
        ("tcp://192.0.2.1:6701", "not loopback"),
        ("tcp://[2001:db8::1]:6701", "not loopback"),
        ("tcp://0.0.0.0:6701", "not loopback"),
        ("tcp://example.invalid:6701", "not an IP address"),
        ("tcp://127.0.0.1", "neither"),
        ("somewhere", "neither"),
    ],
)
def test_bus_needs_keys_beyond_this_machine(never_started: Fleet, process: str, endpoint: str, reason: str) -> None:
    """Without worker_key_file."""
    line = refusal(process, never_started.environ | {"PUSH_ROUTER_LIST": endpoint})
    assert line.startswith("router_list: ")
    assert reason in line


class Keys:
    """Key files of a router and of some senders."""

    def __init__(self, folder: Path) -> None:
        public, secret = zmq.curve_keypair()
        self.server_key = public
        self.server_file = folder / "server.json"
        self.server_file.write_text(json.dumps({"public": public.decode(), "secret": secret.decode()}))
        self.server_file.chmod(0o600)
        self.senders = {name: zmq.curve_keypair() for name in ("pushes", "looks", "stranger")}
        self.permitted_file = folder / "permitted.json"
        scopes = {self.senders["pushes"][0].decode(): ["push"], self.senders["looks"][0].decode(): ["admin"]}
        self.permitted_file.write_text(json.dumps(scopes))

    @property
    def settings(self) -> dict[str, str]:
        return {"curve_server_key_file": str(self.server_file), "curve_permitted_file": str(self.permitted_file)}

    def options(self, name: str) -> dict[str, bytes]:
        """ZeroMQ options of a sender."""
        public, secret = self.senders[name]
        return {"curve_publickey": public, "curve_secretkey": secret, "curve_serverkey": self.server_key}


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


def test_with_keys_only_permitted_senders_get_in(keys: Keys) -> None:
    fleet = Fleet(sender_host="0.0.0.0", workers=1, **keys.settings)
    endpoint = f"tcp://127.0.0.1:{fleet.settings.sender_port}"
    try:
        fleet.start()
        with (
            RawSender(endpoint, deadline=20, **keys.options("looks")) as looks,
            RawSender(endpoint, deadline=20, **keys.options("pushes")) as pushes,
            RawSender(endpoint, **keys.options("stranger")) as stranger,
            RawSender(endpoint) as plain,
        ):
            wait_until(lambda: len(looks.stat()["workers"]) == 1, "the worker is live")
            with connect("v2", fleet.address) as client:
                client.subscribe("alice")
                for outsider in (stranger, plain):
                    # a socket that is refused at once has nowhere to put the message: that is as good
                    with contextlib.suppress(TimeoutError):
                        outsider.send_push([("alice", b"from outside")])
                assert pushes.push("alice", b"from inside") == SENT
                assert pushes.push("nobody", b"") == OFFLINE
                assert client.read_push().body == b"from inside"
                assert pushes.fail(b"KICK1", b"r", b"alice")["code"] == "not_allowed"
                assert looks.fail(b"PUSH1", b"r", b"", b"alice", b"x")["code"] == "not_allowed"
                assert looks.info(b"KICK1", "alice") == [True]
            assert stranger.silent_for(0.5)
            assert plain.silent_for(0)
            assert looks.stat()["router"]["counters"]["keys_refused"] > 0
    finally:
        fleet.stop()


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (lambda keys: keys.server_file.chmod(0o644), "curve_server_key_file"),
        (lambda keys: keys.server_file.unlink(), "curve_server_key_file"),
        (lambda keys: keys.server_file.write_text("{}"), "curve_server_key_file"),
        (lambda keys: keys.permitted_file.write_text("[]"), "curve_permitted_file"),
        (lambda keys: keys.permitted_file.write_text('{"short": ["push"]}'), "curve_permitted_file"),
        (lambda keys: keys.permitted_file.unlink(), "curve_permitted_file"),
    ],
)
def test_spoilt_key_files(never_started: Fleet, keys: Keys, change: Callable[[Keys], object], key: str) -> None:
    change(keys)
    variables = {f"PUSH_{name.upper()}": value for name, value in keys.settings.items()}
    line = refusal("router", never_started.environ | variables)
    assert line.startswith(f"{key}: ")
    secret = json.loads(keys.server_file.read_text()).get("secret") if keys.server_file.exists() else None
    assert not secret or secret not in line


@pytest.mark.parametrize("name", ["curve_server_key_file", "curve_permitted_file"])
def test_one_key_file_without_the_other(never_started: Fleet, keys: Keys, name: str) -> None:
    line = refusal("router", never_started.environ | {f"PUSH_{name.upper()}": keys.settings[name]})
    missing = next(other for other in keys.settings if other != name)
    assert line.startswith(f"{missing}: ")
