"""The load generator against the floor: what is pushed is counted, once, and how long it took is known."""

import os
import shutil
import time
from collections.abc import Iterator

import pytest

from benchmarks.faults import BenchmarkFault
from benchmarks.programs import Floor, Load, build
from benchmarks.senders import FloorSender, paced

pytestmark = pytest.mark.skipif(shutil.which(os.environ.get("CC", "cc")) is None, reason="no C compiler")


@pytest.fixture
def floor() -> Iterator[Floor]:
    with Floor() as floor:
        yield floor


@pytest.fixture
def load(floor: Floor) -> Iterator[Load]:
    with Load(floor.port) as load:
        load.open(20, window=4)
        yield load


def test_a_push_each_to_one_client(floor: Floor, load: Load) -> None:
    assert floor.push(500)["pushes"] == 500
    load.await_pushes(500)


def test_a_push_to_all(floor: Floor, load: Load) -> None:
    assert floor.push_to_all(3)["pushes"] == 60
    load.await_pushes(60)


def test_a_push_too_few_is_a_fault(floor: Floor, load: Load) -> None:
    floor.push(5)
    with pytest.raises(BenchmarkFault, match="5 of 6 pushes arrived"):
        load.await_pushes(6, timeout_s=0.2)


def test_latency_and_sequence(floor: Floor, load: Load) -> None:
    sender = FloorSender(floor.request_port)
    paced(sender, clients=20, rate=1000, count=200)
    load.await_pushes(200)
    stats, latency = load.stats(), load.ask("latency")
    assert (stats["sequenced"], stats["gaps"], latency["count"]) == (200, 0, 200)
    assert 0 < latency["p50_us"] <= latency["p99_us"] <= latency["max_us"] + 1
    stamp = b"t%016xs%08x" % (time.monotonic_ns(), 999)
    sender.push_stamped(b"c3", stamp)
    load.await_pushes(201)
    assert load.stats()["gaps"] == 1
    sender.close()


def test_clients_that_cannot_bind_are_a_fault() -> None:
    with Floor() as floor:
        port = floor.port
    with Load(port, "packets") as load, pytest.raises(BenchmarkFault, match="2 of 2 clients could not bind"):
        load.open(2)


def test_no_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    monkeypatch.setattr("benchmarks.programs._BUILD", tmp_path)
    with pytest.raises(BenchmarkFault, match="no C compiler"):
        build("load")
