"""The bus over TCP: workers of other hosts, with CURVE where it is not loopback."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import ujson
import zmq

from router.kills import started
from router.multipart import Socket
from router.sockets import open_tcp_bus
from shared import bus, bus_rings
from shared.errors import SettingsError
from shared.settings import Settings
from tests.fleet.ports import free_ports
from tests.fleet.processes import wait_until
from tests.router.router_process import RouterProcess, StandInWorker
from tests.router.test_security import KeyRing


@pytest.fixture
def keys() -> Iterator[KeyRing]:
    with tempfile.TemporaryDirectory(prefix="pg", dir="/tmp") as directory:
        yield KeyRing(Path(directory))


@pytest.fixture
def port() -> int:
    return free_ports(1)[0]


def serve_one(router: RouterProcess, worker: StandInWorker) -> bool:
    with router.sender() as sender:
        sender.send(b"PUSH1", b"r", b"", b"a", b"p")
        worker.serve()
        return sender.receive() == [b"DONE1", b"r", bytes(1), b""]


def test_a_worker_may_come_over_either_socket_and_change(port: int) -> None:
    with RouterProcess(bus_port=port) as router:
        for incarnation, endpoint in enumerate([f"tcp://127.0.0.1:{port}", "", f"tcp://127.0.0.1:{port}", ""]):
            with StandInWorker(router, incarnation=str(incarnation), endpoint=endpoint) as worker:
                assert serve_one(router, worker)


def test_workers_on_both_sockets(port: int) -> None:
    with (
        RouterProcess(bus_port=port, workers=1) as router,
        StandInWorker(router, "h/0") as here,
        StandInWorker(router, "other/0", endpoint=f"tcp://127.0.0.1:{port}") as there,
        router.sender() as sender,
    ):
        sender.send(b"PUSH1", b"r", b"", *[part for n in range(20) for part in (b"t%d" % n, b"p")])
        assert here.serve().entries
        assert there.serve().entries
        assert sender.receive() == [b"DONE1", b"r", bytes(20), b""]


def test_nobody_who_comes_over_tcp_is_killed(port: int) -> None:
    """It may say any pid."""
    with (
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as victim,
        RouterProcess(bus_port=port, worker_timeout_ms=300, worker_heartbeat_ms=100, ring_settle_ms=0) as router,
        StandInWorker(router, endpoint=f"tcp://127.0.0.1:{port}", pid=victim.pid, started=started(victim.pid)),
    ):
        wait_until(lambda: "h/0 lost" in router.log, "lost")
        assert victim.poll() is None
        victim.kill()


def curve(keys: KeyRing, who: str) -> dict[str, bytes]:
    pair = getattr(keys, who)
    return {
        "curve_serverkey": keys.server.public.encode(),
        "curve_publickey": pair.public.encode(),
        "curve_secretkey": pair.secret.encode(),
    }


def test_beyond_this_machine_only_keys_with_scope_worker_get_in(keys: KeyRing, port: int) -> None:
    settings = {**keys.settings, "bus_port": port, "bus_host": "0.0.0.0", "ring_settle_ms": 0}
    with RouterProcess(**settings) as router, keys.sender(router, keys.admin) as admin:
        endpoint = f"tcp://127.0.0.1:{port}"
        for options in (curve(keys, "pusher"), curve(keys, "stranger"), {}):
            assert stays_out(endpoint, options)
        with StandInWorker(router, "other/0", endpoint=endpoint, keys=curve(keys, "worker")) as worker:
            assert worker.news.live.keys() == {"other/0"}
        admin.send(b"STAT1", b"r")
        assert ujson.loads(admin.receive()[2])["router"]["counters"]["keys_refused"] >= 2


def stays_out(endpoint: str, options: dict[str, bytes]) -> bool:
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.linger = 0
        dealer.identity = b"other/0"
        for option, value in options.items():
            setattr(dealer, option, value)
        dealer.connect(endpoint)
        dealer.send_multipart(bus.encode_control(bus.BEAT1, {}))
        return not dealer.poll(700)


@pytest.mark.parametrize("setting", ["host", "bus_host"])
def test_without_keys_it_refuses_to_listen_beyond_this_machine(setting: str, port: int) -> None:
    settings = {"bus_port": port, "sender_host": "127.0.0.1", setting: "0.0.0.0"}
    status, log = RouterProcess(**settings).refusal()
    assert status == 2
    assert log == (
        f"push-router: {setting}: 0.0.0.0 is not loopback: "
        "workers there need curve_server_key_file and curve_permitted_file\n"
    )


def test_faults_of_binding_and_bounds() -> None:
    context: zmq.Context[Socket] = zmq.Context()
    try:
        for settings, key in ((Settings(bus_host="192.0.2.1"), "bus_host"), (Settings(host="192.0.2.1"), "host")):
            with pytest.raises(SettingsError, match=f"^{key}: cannot listen on 192.0.2.1:6800: "):
                open_tcp_bus(context, "tcp://192.0.2.1:6800", settings, None)
        (port,) = free_ports(1)
        opened = open_tcp_bus(context, f"tcp://127.0.0.1:{port}", Settings(max_frame_bytes=1 << 20), None)
        assert opened.maxmsgsize == 10_000 << 10
        with pytest.raises(SettingsError, match=f"^bus_port: address 127.0.0.1:{port} is in use$"):
            open_tcp_bus(context, f"tcp://127.0.0.1:{port}", Settings(), None)
    finally:
        context.destroy(linger=0)


def test_two_routers_of_one_host() -> None:
    base = free_ports(3)[0]
    with tempfile.TemporaryDirectory(prefix="pg", dir="/tmp") as directory:
        settings = {"data_dir": Path(directory), "sender_port": base, "routers": 2}
        with (
            RouterProcess(**settings) as first,
            RouterProcess(index=1, **settings) as second,
            StandInWorker(first, routers=[0]) as worker,
        ):
            ring = bus_rings.ring_fields(worker.news)
            with StandInWorker(second, routers=[0, 1], ring=ring) as same:
                assert same.news == worker.news
                assert serve_one(first, worker)
                assert serve_one(second, same)
            assert {path.name for path in (Path(directory) / "run").glob("*.pid")} == {"router-0.pid", "router-1.pid"}
            for router, role in ((first, "decides"), (second, "follows")):
                with router.sender() as sender:
                    sender.send(b"STAT1", b"r")
                    assert ujson.loads(sender.receive()[2])["router"]["role"] == role


@pytest.mark.parametrize(("index", "routers"), [(1, 1), (2, 2), (0, 0)])
def test_a_router_that_is_not_one_of_the_hosts(index: int, routers: int) -> None:
    elsewhere = "tcp://127.0.0.1:1"
    status, log = RouterProcess(index=index, routers=routers, router_list=elsewhere).refusal()
    assert (status, log) == (
        2, f"push-router: routers: there is no router {index}: this host has {routers}, from 0\n",
    )  # fmt: skip


def test_sigterm_stops_a_router_with_two_buses(port: int) -> None:
    with RouterProcess(bus_port=port) as router:
        os.kill(router.process.pid, signal.SIGTERM)
        assert router.process.wait(5) == 0
