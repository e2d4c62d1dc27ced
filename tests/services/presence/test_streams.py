"""The stream of who comes and goes, by a Unix socket and by TCP, with keys and without. Real sockets."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import ujson
import zmq

from services.presence.readers import load_readers
from services.presence.streams import Stream
from services.storage.presences import Presence, Transition
from shared.errors import SettingsError
from shared.keys import KeyPair, format_key_pair
from shared.places import presence_tcp_endpoint
from shared.settings import Settings, load
from tests.fleet.ports import free_ports
from tests.fleet.processes import wait_until

NOW = 1_795_000_000_000


class Keys:
    """Key pairs by scope, and the files of the service."""

    def __init__(self, directory: Path) -> None:
        scopes = ("server", "push", "admin", "worker", "stranger")
        self.pairs = {scope: KeyPair(*(key.decode() for key in zmq.curve_keypair())) for scope in scopes}
        self.server_file, self.permitted_file = directory / "server.key", directory / "permitted.json"
        self.server_file.write_text(format_key_pair(self.pairs["server"]))
        self.server_file.chmod(0o600)
        permitted = {self.pairs[scope].public: [scope] for scope in ("push", "admin", "worker")}
        self.permitted_file.write_text(json.dumps(permitted))

    @property
    def settings(self) -> dict[str, str]:
        return {
            "PUSH_CURVE_SERVER_KEY_FILE": str(self.server_file),
            "PUSH_CURVE_PERMITTED_FILE": str(self.permitted_file),
        }


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


def settings_of(**more: str) -> Settings:
    return load({"PUSH_PRESENCE_PORT": str(free_ports(1)[0]), **more})


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def open_stream(stack: ExitStack, path: Path, settings: Settings) -> Stream:
    stream = Stream(f"ipc://{path}", presence_tcp_endpoint(settings), load_readers(settings))
    return stack.enter_context(closing(stream))


def reader(stack: ExitStack, endpoint: str, pair: KeyPair | None = None, server: str = "") -> "zmq.Socket[bytes]":
    socket = stack.enter_context(stack.enter_context(zmq.Context()).socket(zmq.SUB))
    socket.linger = 0
    if pair:
        socket.curve_serverkey = server.encode()
        socket.curve_publickey, socket.curve_secretkey = pair.public.encode(), pair.secret.encode()
    socket.subscribe(b"")
    socket.connect(endpoint)
    return socket


def transition(number: int) -> Transition:
    return Transition(Presence("a", "u", "here/0", "v2", "127.0.0.1:9", NOW, "here/0", 0), NOW + number, number)


def publish_until(stream: Stream, *sockets: "zmq.Socket[bytes]") -> int:
    """Tell of one after the other until all of these have something to read; how many that were."""
    count = 0

    def all_read() -> bool:
        nonlocal count
        count += 1
        stream.publish([transition(count)])
        return all(socket.poll(0) for socket in sockets)

    wait_until(all_read, "all read")
    return count


def read(socket: "zmq.Socket[bytes]", last: int) -> list[dict[str, Any]]:
    """All events up to that of number `last`."""
    events: list[dict[str, Any]] = []
    while not events or events[-1]["stream_sequence"] < last:
        assert socket.poll(5000)
        kind, text = socket.recv_multipart()
        events.append(ujson.loads(text))
        assert events[-1]["kind"] == kind.decode()
    return events


def test_the_same_on_both_sockets(stack: ExitStack, tmp_path: Path) -> None:
    settings = settings_of()
    stream = open_stream(stack, tmp_path / "p.sock", settings)
    endpoint = presence_tcp_endpoint(settings)
    assert endpoint
    here, there = reader(stack, f"ipc://{tmp_path}/p.sock"), reader(stack, endpoint)
    first = publish_until(stream, here, there) + 1
    stream.publish([transition(first), transition(first + 1)])
    by_path, by_tcp = (read(socket, first + 1)[-2:] for socket in (here, there))
    assert by_path == by_tcp
    assert [event["stream_sequence"] for event in by_path] == [first, first + 1]
    assert len({event["stream"] for event in by_path}) == 1


def test_keys_decide_who_reads_by_tcp(stack: ExitStack, tmp_path: Path, keys: Keys) -> None:
    settings = settings_of(**keys.settings)
    stream = open_stream(stack, tmp_path / "p.sock", settings)
    endpoint, server = presence_tcp_endpoint(settings), keys.pairs["server"].public
    assert endpoint
    let_in = [reader(stack, endpoint, keys.pairs[scope], server) for scope in ("push", "admin")]
    kept_out = [reader(stack, endpoint, keys.pairs[scope], server) for scope in ("worker", "stranger")]
    kept_out.append(reader(stack, endpoint))
    kept_out.append(reader(stack, endpoint, keys.pairs["push"], keys.pairs["stranger"].public))
    by_path = reader(stack, f"ipc://{tmp_path}/p.sock")
    publish_until(stream, *let_in, by_path)
    until = time.monotonic() + 0.5  # those that come too late by a little are refused too
    while time.monotonic() < until:
        publish_until(stream, *let_in)
        assert not any(socket.poll(5) for socket in kept_out)


def test_other_hosts_need_keys(tmp_path: Path, keys: Keys) -> None:
    with pytest.raises(SettingsError, match=r"presence_host: 0\.0\.0\.0 is not loopback"):
        load_readers(settings_of(PUSH_PRESENCE_HOST="0.0.0.0"))
    with pytest.raises(SettingsError, match=r"^host: 0\.0\.0\.0 is not loopback"):
        load_readers(settings_of(PUSH_HOST="0.0.0.0"))
    assert load_readers(load({"PUSH_HOST": "0.0.0.0"})) is None  # nothing is published there
    assert load_readers(settings_of(PUSH_PRESENCE_HOST="0.0.0.0", **keys.settings))


@pytest.mark.parametrize("missing", ["PUSH_CURVE_SERVER_KEY_FILE", "PUSH_CURVE_PERMITTED_FILE"])
def test_half_of_the_keys(keys: Keys, missing: str) -> None:
    settings = {name: value for name, value in keys.settings.items() if name != missing}
    with pytest.raises(SettingsError, match="go together"):
        load_readers(settings_of(**settings))


def test_files_that_are_none(keys: Keys) -> None:
    keys.permitted_file.write_text('{"short": ["push"]}')
    with pytest.raises(SettingsError, match="curve_permitted_file"):
        load_readers(settings_of(**keys.settings))
    keys.permitted_file.unlink()
    with pytest.raises(SettingsError, match="curve_permitted_file"):
        load_readers(settings_of(**keys.settings))
    mixed = KeyPair(keys.pairs["push"].public, keys.pairs["server"].secret)
    keys.server_file.write_text(format_key_pair(mixed))
    with pytest.raises(SettingsError, match="not the key of secret"):
        load_readers(settings_of(**keys.settings))


def test_a_port_that_is_taken(stack: ExitStack, tmp_path: Path) -> None:
    settings = settings_of()
    open_stream(stack, tmp_path / "one.sock", settings)
    with pytest.raises(SettingsError, match="presence_port"):
        open_stream(stack, tmp_path / "two.sock", settings)
