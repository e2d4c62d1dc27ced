"""The router over real ZeroMQ sockets."""

import contextlib
import os
import resource
import socket
import time

import ujson
import zmq

from router.memory import PERIOD_S
from shared import bus
from shared.requests import pack_targets
from tests.clients.senders import RawSender
from tests.clients.zmtp import ZmtpDealer
from tests.fleet.processes import wait_until
from tests.router.router_process import RouterProcess, StandInWorker


def ask_push(sender: RawSender, request_id: bytes, *tokens: bytes, options: bytes = b"", payload: bytes = b"p") -> None:
    sender.send(b"PUSH2", request_id, options, *pack_targets([(token, payload) for token in tokens]))


def figures(sender: RawSender) -> dict[str, dict[str, object]]:
    """STAT1; other answers that come first are passed over."""
    sender.send(b"STAT1", b"figures")
    while (frames := sender.receive())[:2] != [b"INFO1", b"figures"]:
        pass
    return dict(ujson.loads(frames[2]))


def counter(sender: RawSender, name: str) -> int:
    return int(figures(sender)["router"]["counters"][name])  # type: ignore[index]


def test_a_push_there_and_back() -> None:
    with RouterProcess() as router, StandInWorker(router) as worker, router.sender("billing") as sender:
        assert worker.news.live == {"h/0": "/run/h/0.sock"}
        ask_push(sender, b"r1", b"alice", b"bob", options=b'{"id":"1"}')
        batch = worker.serve()
        assert batch.epoch == worker.news.epoch
        assert sender.receive() == [b"DONE1", b"r1", bytes(2), b""]


def test_what_waits_goes_on_together() -> None:
    with (
        RouterProcess(bus_window_batches=1) as router,
        StandInWorker(router) as worker,
        router.sender() as first,
        router.sender() as second,
    ):
        ask_push(first, b"r0", b"a")
        blocked = worker.batch()
        for number in range(10):
            ask_push(first, b"%d" % number, b"a")
            ask_push(second, b"%d" % number, b"a")
        wait_until(lambda: figures(second)["workers"]["h/0"]["pushes_waiting"] == 20, "all wait")  # type: ignore[index]
        worker.send(bus.encode_outcomes(blocked.number, bytes(1)))
        assert len(worker.serve().segments) == 20
        assert [first.receive()[1] for _ in range(11)] == [b"r0", *[b"%d" % number for number in range(10)]]


def test_a_worker_that_dies_mid_request() -> None:
    with RouterProcess() as router, router.sender() as sender:
        worker = StandInWorker(router)
        ask_push(sender, b"r1", b"a")
        worker.batch()
        worker.close()
        with StandInWorker(router, incarnation="b") as again:
            assert sender.receive() == [b"DONE1", b"r1", bytes([10]), b""]
            ask_push(sender, b"r2", b"a")
            again.serve()
            assert sender.receive() == [b"DONE1", b"r2", bytes(1), b""]


def test_a_worker_whose_link_is_gone_is_noticed_at_the_next_push() -> None:
    with RouterProcess(worker_timeout_ms=60_000) as router, router.sender() as sender:
        StandInWorker(router).close()
        wait_until(lambda: figures(sender)["router"]["live"] == 1, "worker known")

        def away() -> bool:
            ask_push(sender, b"r", b"a", options=b'{"timeout_ms":50}')
            return sender.receive()[2] == bytes([7]) and counter(sender, "workers_restarting") == 1

        wait_until(away, "worker away")
        assert figures(sender)["workers"]["h/0"]["state"] == "restarting"  # type: ignore[index]
        assert figures(sender)["router"]["epoch"][1] == 1  # type: ignore[index]
        ask_push(sender, b"r", b"a")
        with StandInWorker(router, incarnation="b") as worker:
            worker.serve()
            assert sender.receive()[2] == bytes(1)


def test_garbage_harms_nobody() -> None:
    with (
        RouterProcess(max_frame_bytes=1 << 20) as router,
        StandInWorker(router) as worker,
        router.sender() as good,
        router.sender() as bad,
    ):
        for frames in ([b""], [b"\0" * 40] * 1000, [b"PUSH2", b"r"], [b"PUSH1", b"r", b"", *[b"t", b"p"] * 10_001]):
            bad.send(*frames)
            assert bad.receive()[0] == b"FAIL1"
        worker.send([b"\xff" * 10] * 100)
        worker.send([b""])
        ask_push(good, b"r1", b"a")
        worker.serve()
        assert good.receive()[:2] == [b"DONE1", b"r1"]
        assert counter(good, "bus_errors") == 2
        assert counter(good, "internal_errors") == 0


def test_a_message_of_very_many_frames() -> None:
    with RouterProcess(max_targets=10) as router, StandInWorker(router) as worker, router.sender() as sender:
        sender.send(b"PUSH1", b"r1", b"", *[b"t", b""] * 200_000)
        command, request_id, body = sender.receive()
        assert (command, request_id, ujson.loads(body)["code"]) == (b"FAIL1", b"r1", "too_many_targets")
        ask_push(sender, b"r2", b"a")
        worker.serve()
        assert sender.receive()[:2] == [b"DONE1", b"r2"]
        assert counter(sender, "internal_errors") == 0


def test_a_frame_that_is_too_large_ends_the_connection() -> None:
    with RouterProcess(max_frame_bytes=1 << 16) as router, router.sender() as sender:
        sender.send(b"PUSH1", b"r1", b"", b"a", bytes(1 << 17))

        def connected_again() -> bool:
            sender.send(b"STAT1", b"r2")
            return bool(sender.socket.poll(50))

        wait_until(connected_again, "connected again")
        assert sender.receive()[:2] == [b"INFO1", b"r2"]
        assert counter(sender, "pushes") == 0


def test_a_sender_that_does_not_read_its_answers() -> None:
    with RouterProcess() as router, router.sender(rcvhwm=1, rcvbuf=4096) as deaf, router.sender() as sender:
        payload = b"x" * 64

        def dropped() -> bool:
            for _ in range(500):
                with contextlib.suppress(zmq.Again):
                    deaf.socket.send_multipart([b"STAT1", payload], zmq.NOBLOCK)
            return counter(sender, "answers_dropped") > 0

        wait_until(dropped, "answers dropped")
        ask_push(sender, b"r", b"a")
        assert sender.receive()[1] == b"r"


def test_senders_faster_than_the_workers_are_held_up_in_order() -> None:
    with (
        RouterProcess(pending_requests_max=50, bus_window_batches=1) as router,
        StandInWorker(router) as worker,
        router.sender() as sender,
    ):
        for number in range(100):
            ask_push(sender, b"%d" % number, b"a", payload=b"%d" % number)
        refused = [sender.receive() for _ in range(75)]
        assert [int(frames[1]) for frames in refused] == list(range(25, 100))
        assert all(ujson.loads(frames[2])["code"] == "overloaded" for frames in refused)
        served = 0
        while served < 25:
            served += len(worker.serve().segments)
        assert [int(sender.receive()[1]) for _ in range(25)] == list(range(25))
        ask_push(sender, b"26", b"a")
        assert ujson.loads(sender.receive()[2])["code"] == "overloaded"
        ask_push(sender, b"25", b"a")
        worker.serve()
        assert sender.receive()[:2] == [b"DONE1", b"25"]


def test_endless_unfinished_messages_reopen_the_endpoint() -> None:
    with RouterProcess(router_memory_bytes=128 << 20) as router, StandInWorker(router) as worker:
        sender = router.sender()
        assert counter(sender, "endpoint_reopened") == 0
        send_without_end(router)
        wait_until(lambda: "reopening the sender endpoint" in router.log, "endpoint reopened")
        ask_push(sender, b"r", b"a")  # it connects again by itself
        worker.serve()
        assert sender.receive()[:2] == [b"DONE1", b"r"]
        wait_until(lambda: resident(router) < 128 << 20, "memory given back")
        assert counter(sender, "endpoint_reopened") == 1
        sender.close()


def test_every_descriptor_used_up() -> None:
    """The router lives on and serves who is in; it looks at its memory meanwhile, which needs no descriptor."""
    with RouterProcess() as router, StandInWorker(router) as worker, router.sender() as sender:
        begun = uptime(sender)
        soft, hard = resource.prlimit(router.process.pid, resource.RLIMIT_NOFILE)
        assert soft == hard
        resource.prlimit(router.process.pid, resource.RLIMIT_NOFILE, (48, hard))
        crowd = [socket.create_connection(("127.0.0.1", router.sender_port)) for _ in range(100)]
        wait_until(lambda: uptime(sender) > begun + 3 * PERIOD_S, "it has looked at its memory")
        assert len(os.listdir(f"/proc/{router.process.pid}/fd")) == 48
        ask_push(sender, b"r", b"a")
        worker.serve()
        assert sender.receive()[:2] == [b"DONE1", b"r"]
        for each in crowd:
            each.close()
        with router.sender() as late:
            assert uptime(late) > begun


def uptime(sender: RawSender) -> float:
    return float(figures(sender)["router"]["uptime_s"])  # type: ignore[arg-type]


def send_without_end(router: RouterProcess) -> None:
    """Unfinished messages, until the router ends the connection."""
    dealer = ZmtpDealer(("127.0.0.1", router.sender_port))
    frame = bytes(1 << 20)
    with contextlib.suppress(OSError):
        for _ in range(2000):
            dealer.send(frame, more=True)
    dealer.wire.close()


def resident(router: RouterProcess) -> int:
    with open(f"/proc/{router.process.pid}/statm") as file:
        return int(file.read().split()[1]) * 4096


def test_time_outs_are_kept_while_nothing_else_happens() -> None:
    with RouterProcess() as router, StandInWorker(router) as worker, router.sender() as sender:
        ask_push(sender, b"r1", b"a", options=b'{"timeout_ms":300}')
        asked = time.monotonic()
        worker.batch()
        assert sender.receive()[2] == bytes([10])
        assert 0.29 < time.monotonic() - asked < 2


def test_idle_costs_next_to_nothing() -> None:
    with RouterProcess() as router, StandInWorker(router), router.sender() as sender:
        figures(sender)
        with open(f"/proc/{router.process.pid}/stat") as file:
            before = sum(map(int, file.read().rsplit(")", 1)[1].split()[11:13]))
        ends = time.monotonic() + 1
        wait_until(lambda: time.monotonic() > ends, "a second")
        with open(f"/proc/{router.process.pid}/stat") as file:
            after = sum(map(int, file.read().rsplit(")", 1)[1].split()[11:13]))
        assert after - before <= 5  # hundredths of a second
