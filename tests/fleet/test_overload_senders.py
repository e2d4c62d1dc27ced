"""Senders that are too fast, do not read, or never end a message: bounded, told so, and in order afterwards."""

import json
import os
import select
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.clients.kinds import connect
from tests.clients.senders import BUFFERED, SENT, RawSender
from tests.clients.zmtp import ZmtpDealer
from tests.fleet.bystanders import bystanders
from tests.fleet.conftest import StartFleet
from tests.fleet.fleet_process import Fleet
from tests.fleet.observations import peak_bytes, resident_bytes
from tests.fleet.processes import wait_until

MIB = 1 << 20


@contextmanager
def stopped_workers(fleet: Fleet) -> Iterator[None]:
    """The workers stand still meanwhile: whatever is sent to them stays unanswered."""
    pids = [fleet.worker_pid(index) for index in range(fleet.settings.workers)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def send_numbered(sender: RawSender, token: str, numbers: range) -> None:
    """One request each, its number as request id and payload."""
    for number in numbers:
        sender.send_push([(token, b"%d" % number)], b"%d" % number, timeout_ms=60_000)


def answers(sender: RawSender, count: int) -> tuple[dict[int, bytes], dict[int, dict[str, object]]]:
    """(outcomes by number, faults by number) of the next `count` answers."""
    done, failed = {}, {}
    for _ in range(count):
        kind, request_id, body, *_ = sender.receive()
        if kind == b"DONE1":
            done[int(request_id)] = body
        else:
            assert kind == b"FAIL1"
            failed[int(request_id)] = json.loads(body)
    return done, failed


@pytest.mark.parametrize(
    "bounds", [{"pending_requests_max": 40}, {"pending_bytes_max": 65_536}], ids=["requests", "bytes"]
)
def test_go_back_n(start_fleet: StartFleet, bounds: dict[str, int]) -> None:
    """From the first request turned away on, all are, until it comes again; nothing is lost, doubled or disordered."""
    fleet = start_fleet(workers=2, worker_timeout_ms=60_000, **bounds)
    filler = b"x" * 3000 if "pending_bytes_max" in bounds else b""
    total = 200
    with RawSender(fleet.endpoint) as sender, connect("v2", fleet.address) as client:
        client.subscribe("in-order")
        with stopped_workers(fleet):
            for number in range(total):
                sender.send_push([("in-order", b"%d." % number + filler)], b"%d" % number, timeout_ms=60_000)
            failed: dict[int, dict[str, object]] = {}
            while total - 1 not in failed:
                failed |= answers(sender, 1)[1]
        first = min(failed)
        assert 0 < first < total // 2
        assert list(failed) == list(range(first, total))
        for fault in failed.values():
            assert fault["code"] == "overloaded"
            assert isinstance(fault["retry_after_ms"], int)
            assert fault["retry_after_ms"] > 0
        done, _ = answers(sender, first)
        assert done == dict.fromkeys(range(first), bytes([SENT]))
        # Now there is room, but order comes first: only the refused one ends the refusing.
        send_numbered(sender, "in-order", range(total, total + 3))
        assert {fault["code"] for fault in answers(sender, 3)[1].values()} == {"overloaded"}
        for number in range(first, total):
            sender.send_push([("in-order", b"%d." % number + filler)], b"%d" % number, timeout_ms=60_000)
            assert answers(sender, 1)[0] == {number: bytes([SENT])}
        received = [int(client.read_push().body.partition(b".")[0]) for _ in range(total)]
        assert received == list(range(total))


@pytest.mark.parametrize("ended_by", ["hello", "time"])
def test_go_back_n_ends(start_fleet: StartFleet, ended_by: str) -> None:
    """A new HELLO1, or time, ends it too: a sender that has given the refused request up is not locked out."""
    fleet = start_fleet(workers=1, worker_timeout_ms=60_000, pending_requests_max=10, overload_hold_s=1)
    with RawSender(fleet.endpoint) as sender:
        with stopped_workers(fleet):
            send_numbered(sender, "nobody", range(20))
            failed: dict[int, dict[str, object]] = {}
            while 19 not in failed:
                failed |= answers(sender, 1)[1]
        assert len(answers(sender, 20 - len(failed))[0]) == 20 - len(failed)
        send_numbered(sender, "nobody", range(20, 21))
        assert 20 in answers(sender, 1)[1]
        if ended_by == "hello":
            sender.hello("a new beginning")
            send_numbered(sender, "nobody", range(21, 22))
            assert 21 in answers(sender, 1)[0]
        else:
            wait_until(lambda: sender.ask(b"PUSH1", b"r", b"", b"nobody", b"")[0] == b"DONE1", "the hold ends", 5)


def test_another_sender_has_room(start_fleet: StartFleet) -> None:
    """One that fills what it may leaves room for others."""
    fleet = start_fleet(workers=1, worker_timeout_ms=60_000, pending_requests_max=40)
    with RawSender(fleet.endpoint) as greedy, RawSender(fleet.endpoint) as modest:
        with stopped_workers(fleet):
            send_numbered(greedy, "nobody", range(200))
            assert answers(greedy, 100)[1]
            send_numbered(modest, "nobody", range(5))
            assert modest.silent_for(0.3)
        done, failed = answers(modest, 5)
        assert len(done) == 5
        assert not failed


def test_sender_that_does_not_read_its_answers(start_fleet: StartFleet) -> None:
    """Its answers fill their bound and are dropped; the router stays small and serves the others."""
    fleet = start_fleet(workers=2)
    with bystanders(fleet) as others, RawSender(fleet.endpoint, rcvhwm=1, rcvbuf=4096) as deaf:
        before = peak_bytes(fleet.router_pid())
        pairs = [(f"nobody-{number}", b"x" * 20) for number in range(500)]
        deadline = time.monotonic() + 6
        sent = 0
        while time.monotonic() < deadline and sent < 20_000:
            deaf.send_packed(pairs, b"q" * 64)
            sent += 1
            if sent % 200 == 0:
                assert others.check() < 1.0
        assert peak_bytes(fleet.router_pid()) - before < 64 * MIB


class Pourer(threading.Thread):
    """A sender that has 50 requests of 10 pushes under way at any time, and counts what was accepted."""

    def __init__(self, fleet: Fleet, token: str, requests: int) -> None:
        super().__init__(name=f"pours to {token}")
        self.endpoint, self.token, self.requests = fleet.endpoint, token, requests
        self.accepted = self.refused = 0

    def run(self) -> None:
        with RawSender(self.endpoint, deadline=30) as sender:
            for number in range(self.requests + 50):
                if number < self.requests:
                    sender.send_packed([(self.token, b"x" * 1000)] * 10, b"p")
                if number >= 50:
                    kind, _, body, *_ = sender.receive()
                    if kind == b"DONE1":
                        self.accepted += body.count(SENT) + body.count(BUFFERED)
                    else:
                        assert json.loads(body)["code"] == "overloaded"
                        self.refused += 1


def test_senders_faster_than_the_workers(start_fleet: StartFleet) -> None:
    """Senders that do not wait are turned away in time: memory is bounded, and just what was accepted arrives."""
    fleet = start_fleet(workers=2, pending_requests_max=60)
    before = peak_bytes(fleet.router_pid())
    with bystanders(fleet) as others, ExitStack() as stack:
        clients = [stack.enter_context(connect("v2", fleet.address)) for _ in range(3)]
        for number, client in enumerate(clients):
            client.subscribe(f"poured-{number}")
        pourers = [Pourer(fleet, f"poured-{number}", 1000) for number in range(3)]
        for pourer in pourers:
            pourer.start()
        arrived = dict.fromkeys(clients, 0)
        while any(pourer.is_alive() for pourer in pourers):
            assert others.check() < 2.0
            for client in clients:
                while client.wire.is_open() and client.wire.buffered >= 1010:
                    assert client.read_push().body == b"x" * 1000
                    arrived[client] += 1
        for client, pourer in zip(clients, pourers, strict=True):
            while arrived[client] < pourer.accepted:
                client.read_push()
                arrived[client] += 1
            assert client.wire.silent_for(0.2)
        assert sum(pourer.refused for pourer in pourers) > 0
        assert sum(pourer.accepted for pourer in pourers) > 1000
    assert peak_bytes(fleet.router_pid()) - before < 64 * MIB


def test_message_without_end(start_fleet: StartFleet) -> None:
    """Frames without a last one: over its memory setting the router reopens the endpoint; senders come again.

    The router looks once a second, so what comes in a second is added to the bound: here about 100 MiB.
    """
    limit, rate = 128 * MIB, 100 * MIB
    fleet = start_fleet(workers=1, router_memory_bytes=limit)
    with bystanders(fleet) as others:
        peers = [ZmtpDealer((fleet.host, fleet.settings.sender_port)) for _ in range(2)]
        started, sent = time.monotonic(), 0
        while peers:
            assert time.monotonic() - started < 30, "never ended"
            for peer in list(peers):
                try:
                    peer.send(b"\0" * 256 * 1024, more=True)
                    sent += 256 * 1024
                except ConnectionError:
                    peers.remove(peer)
            select.select([], [], [], max(0.0, started + sent / rate - time.monotonic()))
        wait_until(lambda: fleet.stat()["router"]["counters"]["endpoint_reopened"] == 1, "reopening is counted")
        wait_until(lambda: "reopening the sender endpoint" in fleet.log("router"), "its log line")
        assert peak_bytes(fleet.router_pid()) < limit + 2 * rate
        wait_until(lambda: resident_bytes(fleet.router_pid()) < limit, "memory is given back")
        others.check()
