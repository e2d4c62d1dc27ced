"""CURVE on the sender endpoint: who gets in, who may do what, and when the router does not start without it."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import ujson
import zmq

from router.counters import new_counters
from router.security import load_guard, new_key_pair
from shared.errors import SettingsError
from shared.keys import KeyPair, format_key_pair, format_permitted
from shared.settings import Settings
from tests.clients.senders import RawSender
from tests.fleet.processes import wait_until
from tests.router.router_process import RouterProcess, StandInWorker


class KeyRing:
    """Keys of a router and of senders, and the files that name them."""

    def __init__(self, directory: Path) -> None:
        self.server, self.pusher, self.admin, self.worker, self.stranger = (new_key_pair() for _ in range(5))
        self.key_file = directory / "router.key"
        self.permitted_file = directory / "permitted.json"
        self.key_file.touch(mode=0o600)
        self.key_file.write_text(format_key_pair(self.server))
        permitted = {self.pusher.public: {"push"}, self.admin.public: {"admin"}, self.worker.public: {"worker"}}
        self.permitted_file.write_text(format_permitted({key: frozenset(scopes) for key, scopes in permitted.items()}))
        self.settings = {
            "curve_server_key_file": str(self.key_file),
            "curve_permitted_file": str(self.permitted_file),
        }

    def sender(self, router: RouterProcess, pair: KeyPair, server: KeyPair | None = None) -> RawSender:
        keys = {
            "curve_serverkey": (server or self.server).public.encode(),
            "curve_publickey": pair.public.encode(),
            "curve_secretkey": pair.secret.encode(),
        }
        return router.sender(**keys)


@pytest.fixture
def keys() -> Iterator[KeyRing]:
    with tempfile.TemporaryDirectory(prefix="pg", dir="/tmp") as directory:
        yield KeyRing(Path(directory))


def stays_out(sender: RawSender) -> bool:
    """Whether a STAT1 gets no answer: the connection is never made."""
    sender.socket.send_multipart([b"STAT1", b"r"])
    return not sender.socket.poll(700)


def code(frames: list[bytes]) -> str:
    assert frames[0] == b"FAIL1"
    return str(ujson.loads(frames[2])["code"])


def test_scopes_over_curve(keys: KeyRing) -> None:
    with (
        RouterProcess(**keys.settings) as router,
        StandInWorker(router) as worker,
        keys.sender(router, keys.pusher) as pusher,
        keys.sender(router, keys.admin) as admin,
    ):
        pusher.send(b"PUSH1", b"r1", b"", b"a", b"p")
        worker.serve()
        assert pusher.receive() == [b"DONE1", b"r1", bytes(1), b""]
        pusher.send(b"KICK1", b"r2", b"a")
        assert code(pusher.receive()) == "not_allowed"
        pusher.send(b"FIND1", b"r3", b"")
        assert pusher.receive()[0] == b"INFO1"
        admin.send(b"PUSH1", b"r1", b"", b"a", b"p")
        assert code(admin.receive()) == "not_allowed"
        admin.send(b"KICK1", b"r2", b"")
        assert admin.receive()[0] == b"INFO1"


def test_only_permitted_keys_get_in(keys: KeyRing) -> None:
    with RouterProcess(**keys.settings) as router, keys.sender(router, keys.admin) as admin:
        with router.sender() as plain:
            assert stays_out(plain)
        for pair in (keys.stranger, keys.worker):
            with keys.sender(router, pair) as refused:
                assert stays_out(refused)
        with keys.sender(router, keys.admin, server=keys.stranger) as mistaken:
            assert stays_out(mistaken)

        def refusals() -> int:
            admin.send(b"STAT1", b"r")
            return int(ujson.loads(admin.receive()[2])["router"]["counters"]["keys_refused"])

        wait_until(lambda: refusals() >= 2, "refusals counted")


def test_with_keys_it_listens_on_every_address(keys: KeyRing) -> None:
    with RouterProcess(sender_host="0.0.0.0", **keys.settings) as router, keys.sender(router, keys.admin) as admin:
        admin.send(b"STAT1", b"r")
        assert admin.receive()[0] == b"INFO1"


@pytest.mark.parametrize("setting", ["host", "sender_host"])
def test_without_keys_it_refuses_to_listen_beyond_this_machine(setting: str) -> None:
    status, log = RouterProcess(**{setting: "0.0.0.0"}).refusal()
    assert status == 2
    assert log == (
        f"push-router: {setting}: 0.0.0.0 is not loopback: "
        "senders there need curve_server_key_file and curve_permitted_file\n"
    )


def fault(keys: KeyRing, **changed: str) -> str:
    """The line that a start with these settings ends in."""
    with pytest.raises(SettingsError) as caught:
        load_guard(Settings(**{**keys.settings, **changed}), new_counters())
    return str(caught.value).replace(str(keys.key_file.parent), "")


def test_files_that_do_not_do(keys: KeyRing) -> None:
    assert fault(keys, curve_permitted_file="") == (
        "curve_permitted_file: must be set: curve_server_key_file and curve_permitted_file go together"
    )
    assert fault(keys, curve_server_key_file="").startswith("curve_server_key_file: must be set")
    assert fault(keys, curve_server_key_file="/none") == "curve_server_key_file: /none: no such file or directory"
    keys.permitted_file.write_text("{}")
    assert fault(keys) == "curve_permitted_file: permits nobody"
    keys.permitted_file.write_bytes(b"\xff")
    assert fault(keys) == "curve_permitted_file: /permitted.json: not UTF-8"
    os.chmod(keys.key_file, 0o640)
    assert fault(keys) == "curve_server_key_file: /router.key: mode 0640 lets others read it: must be 0600"


def test_a_pair_that_does_not_match(keys: KeyRing) -> None:
    keys.key_file.write_text(format_key_pair(KeyPair(keys.stranger.public, keys.server.secret)))
    assert fault(keys) == "curve_server_key_file: public is not the key of secret"


def test_no_keys_no_guard() -> None:
    assert load_guard(Settings(), new_counters()) is None


def test_questions_that_are_none_are_denied(keys: KeyRing) -> None:
    guard = load_guard(Settings(**keys.settings), new_counters())
    assert guard is not None
    key = zmq.utils.z85.decode(keys.pusher.public)
    context = zmq.Context()
    try:
        socket = guard.open(context)
        asker = context.socket(zmq.REQ)
        asker.connect("inproc://zeromq.zap.01")
        whole = [b"1.0", b"7", b"senders", b"127.0.0.1", b"", b"CURVE", key]
        for frames, status in (
            (whole, b"200"),
            ([*whole[:2], b"other", *whole[3:]], b"400"),
            ([*whole[:5], b"PLAIN", key], b"400"),
            ([*whole[:6], b"short"], b"400"),
            ([*whole[:5], b"NULL"], b"400"),
            ([b"1.0"], b"400"),
        ):
            asker.send_multipart(frames)
            assert socket.poll(5000)
            guard.answer(socket)
            assert asker.recv_multipart()[2] == status
    finally:
        context.destroy(linger=0)
