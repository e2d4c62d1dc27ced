"""Services over real sockets, with a router of the test."""

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import ujson

from services.library import ClientCall, Refusal, Returned, Service, services
from shared.calls import Internal, decode_call, internal
from tests.fleet.processes import DEADLINE_S, wait_until
from tests.services.library.router_socket import ServiceRouter

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def router() -> Iterator[ServiceRouter]:
    with ServiceRouter() as started:
        yield started


@pytest.fixture
def service(router: ServiceRouter) -> Iterator[Service]:
    """Not started yet; two threads."""
    made = Service("echo", router.endpoint, threads=2)
    yield made
    made.stop(0)


def start(service: Service) -> None:
    service.start()
    assert service.wait_ready(DEADLINE_S)


def test_a_function_answers_a_topic(router: ServiceRouter, service: Service):
    @service.answers(9, 16, idempotent=True)
    def echo(call: ClientCall) -> bytes:
        return f"{call.token} {call.key}".encode() + call.body

    start(service)
    router.call(1, b"!", token="t", key="k")
    assert router.answer() == (1, 0, b"t k!")
    serve = ujson.loads(router.received[0][1])
    assert (serve["name"], serve["instance"]) == ("echo", service.instance)
    assert serve["topics"] == [{"signal": 9, "sub_signal": 16, "idempotent": True}]


def test_codes_refusals_and_faults(router: ServiceRouter, service: Service, caplog: pytest.LogCaptureFixture):
    @service.answers(9, 16)
    def answer(call: ClientCall) -> bytes | Returned:
        if call.body == b"refuse":
            raise Refusal(3, b"no")
        if call.body == b"code":
            return Returned(4, b"yes")
        if call.body == b"nothing":
            return None  # type: ignore[return-value]
        raise ValueError("a bug")

    start(service)
    with caplog.at_level(logging.CRITICAL, "services.library"):
        for number, body in enumerate((b"refuse", b"code", b"bug", b"nothing")):
            router.call(number, body)
        answers = {router.answer() for _ in range(4)}
    assert answers == {(0, 3, b"no"), (1, 4, b"yes"), (2, 0xF3, b""), (3, 0xF3, b"")}
    assert (service.statistics.failed, service.statistics.refused) == (2, 2)
    assert service.wait_ready(0)


def test_batches_are_what_waits(router: ServiceRouter, service: Service):
    gate, sizes = threading.Event(), []

    @service.answers_batch(internal(Internal.MESSAGES), idempotent=True, most=10)
    def store(calls: Sequence[ClientCall]) -> list[bytes | Refusal]:
        gate.wait(DEADLINE_S)
        sizes.append(len(calls))
        return [Refusal(1, b"no") if call.body == b"4" else call.body for call in calls]

    start(service)
    for number in range(16):
        router.call(number, b"%d" % number, (0, Internal.MESSAGES), key=str(number))
    wait_until(lambda: service.statistics.calls == 16, "16 calls")
    gate.set()
    answers = [router.answer() for _ in range(16)]
    assert answers == [(n, 1, b"no") if n == 4 else (n, 0, b"%d" % n) for n in range(16)]
    assert sum(sizes) == 16
    assert max(sizes) <= 10
    assert len(sizes) <= 3


def test_a_batch_with_too_few_answers_has_failed(
    router: ServiceRouter, service: Service, caplog: pytest.LogCaptureFixture
):
    service.answers_batch((9, 16))(lambda calls: [])
    start(service)
    with caplog.at_level(logging.CRITICAL, "services.library"):
        router.call(1)
        assert router.answer() == (1, 0xF3, b"")


def test_a_key_keeps_its_order_and_others_pass_it(router: ServiceRouter, service: Service):
    gate, order = threading.Event(), []

    @service.answers(9, 16)
    def answer(call: ClientCall) -> bytes:
        if call.body == b"slow":
            gate.wait(DEADLINE_S)
        order.append((call.key, call.body))
        return call.body

    start(service)
    router.call(1, b"slow", key="a")
    router.call(2, b"next", key="a")
    router.call(3, b"quick", key="b")
    assert router.answer().number == 3
    gate.set()
    assert [router.answer().number for _ in range(2)] == [1, 2]
    assert order == [("b", b"quick"), ("a", b"slow"), ("a", b"next")]


def test_a_slow_handler_does_not_stop_the_heartbeat(router: ServiceRouter, service: Service):
    gate = threading.Event()

    @service.answers(9, 16)
    def answer(call: ClientCall) -> bytes:
        gate.wait(DEADLINE_S)
        return b""

    start(service)
    for number in range(4):
        router.call(number)
    wait_until(lambda: service.statistics.calls == 4, "calls")
    beats = router.beats
    wait_until(lambda: router.beats > beats + 3, "heartbeats")
    gate.set()
    assert {router.answer().code for _ in range(4)} == {0}


def test_it_finds_a_router_that_was_away(service: Service, router: ServiceRouter):
    service.answers(9, 16)(lambda call: call.body)
    start(service)
    endpoint = router.endpoint
    router.close()
    wait_until(lambda: not service.wait_ready(0), "lost")
    with ServiceRouter(endpoint) as again:
        assert service.wait_ready(DEADLINE_S)
        again.call(1, b"x")
        assert again.answer() == (1, 0, b"x")
        assert service.statistics.links_lost == 1


def test_a_router_that_is_silent_is_left_and_tried_again(router: ServiceRouter, service: Service):
    router.timeout_ms = 200
    start(service)
    router.silent = True
    wait_until(lambda: service.statistics.links_lost, "lost")
    router.silent = False
    assert service.wait_ready(DEADLINE_S)


def test_it_asks_and_tells(router: ServiceRouter, service: Service):
    start(service)
    assert service.ask(internal(Internal.MEMBERS), b"who", key="u", uid="u") == Returned(0, b"WHO")
    call = decode_call(next(frames for frames in router.received if frames[0] == b"ASK1"))
    assert call.head == {"uid": "u", "signal": 0, "sub_signal": 2, "timeout_ms": 5000, "key": "u"}
    assert service.regroup("g", ["t"], ["u"], joined=True) == 1
    (regroup,) = [frames for frames in router.received if frames[0] == b"REGROUP1"]  # it has been read
    assert ujson.loads(regroup[1]) == {"group": "g", "tokens": ["t"], "uids": ["u"], "joined": True}
    assert service.statistics.regroups_unheard == 0


def test_a_router_that_does_not_read_is_not_waited_for_for_ever(
    router: ServiceRouter, service: Service, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(services, "_REGROUP_WAIT_S", 0.01)
    start(service)
    router.silent = True
    assert service.regroup("g", ["t"], ["u"], joined=True) == 1
    assert service.statistics.regroups_unheard == 1
    router.silent = False


def regrouped(router: ServiceRouter, count: int) -> list[dict[str, Any]]:
    """What all REGROUP1 say, once there are so many."""

    def said() -> list[dict[str, Any]]:
        return [ujson.loads(frames[1]) for frames in list(router.received) if frames[0] == b"REGROUP1"]

    wait_until(lambda: len(said()) >= count, "all are told")
    return said()


def test_many_members_are_told_in_pieces(router: ServiceRouter, service: Service):
    start(service)
    tokens = [f"token-{number}" for number in range(100_000)]
    assert service.regroup("g", tokens, ["u"], joined=False) == 1
    pieces = regrouped(router, 100)
    assert [token for piece in pieces for token in piece["tokens"]] == tokens
    assert [uid for piece in pieces for uid in piece["uids"]] == ["u"]
    assert max(len(piece["tokens"]) for piece in pieces) == 1000
    assert {(piece["group"], piece["joined"]) for piece in pieces} == {("g", False)}


def test_it_asks_from_within_a_handler(router: ServiceRouter, service: Service):
    @service.answers(9, 16)
    def answer(call: ClientCall) -> bytes:
        return service.ask((9, 17), call.body).body

    start(service)
    router.call(1, b"x")
    assert router.answer() == (1, 0, b"X")


def test_stop_answers_what_it_has(router: ServiceRouter, service: Service):
    gate = threading.Event()

    @service.answers(9, 16)
    def answer(call: ClientCall) -> bytes:
        gate.wait(DEADLINE_S)
        return call.body

    start(service)
    router.call(1, b"x")
    wait_until(lambda: service.statistics.calls, "a call")
    stopper = threading.Thread(target=service.stop)
    stopper.start()
    router.wait_for(b"LEAVE1")
    gate.set()
    stopper.join(DEADLINE_S)
    assert router.answer() == (1, 0, b"x")


_PROGRAM = """
import logging, sys, time
from services.library import Service
logging.basicConfig(level="INFO")
service = Service("slow", sys.argv[1])
@service.answers(9, 16)
def answer(call):
    time.sleep(float(call.body))
    return b"done"
sys.exit(service.run())
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_that_is_told_to_end_answers_first(router: ServiceRouter, number: signal.Signals):
    process = subprocess.Popen([sys.executable, "-c", _PROGRAM, router.endpoint], cwd=ROOT)
    try:
        router.wait_for(b"SERVE1")
        router.call(1, b"0.3", key="a")
        router.call(2, b"0", key="a")
        process.send_signal(number)
        assert [router.answer(), router.answer()] == [(1, 0, b"done"), (2, 0, b"done")]
        assert process.wait(DEADLINE_S) == 0
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()


def test_wrong_registrations_are_refused(service: Service):
    service.answers(9, 16)(lambda call: b"")
    with pytest.raises(ValueError, match="handler already"):
        service.answers(9, 16)(lambda call: b"")
    with pytest.raises(ValueError, match="no topic"):
        service.answers(9, 128)(lambda call: b"")
    with pytest.raises(ValueError, match="name"):
        Service("", "ipc:///x")
    with pytest.raises(ValueError, match="no service endpoint"):
        Service("x", [])
    with pytest.raises(ValueError, match="window"):
        Service("x", "ipc:///x", window=0)
