"""Both shells against a real ROUTER socket: the same tests for threads and for greenlets."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import gevent
import pytest
import zmq

import services.sender.gevent
from services.sender import CurveKeys, Outcome, Push, Sender, SenderError
from services.sender.connections import Connection
from services.sender.shells import Shell
from shared.errors import RequestError
from shared.push_ids import id_prefix, push_id
from shared.requests import HELLO1, decode_push, encode_done, encode_fail
from tests.fleet.ports import free_ports
from tests.services.sender.router_socket import Frames, RouterSocket, obliging, only_hello


class Threads:
    Sender = Sender

    @staticmethod
    def run(work: Callable[[], Any], times: int) -> None:
        workers = [threading.Thread(target=work) for _ in range(times)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    sleep = staticmethod(time.sleep)


class Greenlets:
    Sender = services.sender.gevent.Sender

    @staticmethod
    def run(work: Callable[[], Any], times: int) -> None:
        gevent.joinall([gevent.spawn(work) for _ in range(times)], raise_error=True)

    sleep = staticmethod(gevent.sleep)


@pytest.fixture(params=[Threads, Greenlets])
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


def poll_until(kind: Any, condition: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        kind.sleep(0.005)


def test_push_has_its_outcome_and_arrives_as_it_was(kind: Any):
    with RouterSocket() as router, kind.Sender(router.endpoint) as sender:
        assert sender.push("ä", "hëllo") is Outcome.SENT
        assert sender.push(b"b", b"\x00\xff") is Outcome.SENT
        assert list(router.pushed()) == [("ä".encode(), "hëllo".encode()), (b"b", b"\x00\xff")]


def test_options_reach_the_router(kind: Any):
    with RouterSocket() as router, kind.Sender(router.endpoint, name="billing") as sender:
        sender.push("a", "x", timeout_ms=700, signal="PUBLISH", sub_signal=17)
        assert router.received[0][:2] == [HELLO1, b"billing"]
        options = decode_push(router.requests()[0]).options
        assert (options.timeout_ms, options.signal, options.sub_signal) == (700, 9, 17)
        with pytest.raises(SenderError, match="bad_options: unknown option 'colour'"):
            sender.push("a", "x", colour="red")


def test_push_many_keeps_the_order_and_packs_what_waits(kind: Any):
    def outcome_by_token(frames: Frames) -> list[Frames]:
        if frames[0] == HELLO1:
            return obliging(frames)
        count = decode_push(frames).count
        tokens = [token for token, _ in list(router.pushed())[-count:]]
        return [encode_done(frames[1], bytes([int(token) % 4 for token in tokens]))]

    with RouterSocket(outcome_by_token) as router, kind.Sender(router.endpoint, queue_pushes=500) as sender:
        outcomes = list(sender.push_many((str(number), "x") for number in range(3000)))
        assert outcomes == [Outcome(number % 4) for number in range(3000)]
        assert len(router.requests()) < 1000


def test_push_many_of_nothing(kind: Any):
    with RouterSocket() as router, kind.Sender(router.endpoint) as sender:
        assert list(sender.push_many([])) == []


def test_push_many_does_not_wait_for_more_to_come(kind: Any):
    """The second pair comes only when the first one has arrived."""
    with RouterSocket() as router, kind.Sender(router.endpoint) as sender:

        def pairs() -> Any:
            yield "a", "1"
            poll_until(kind, lambda: list(router.pushed()) == [(b"a", b"1")])
            yield "b", "2"

        assert list(sender.push_many(pairs())) == [Outcome.SENT, Outcome.SENT]


def test_tickets(kind: Any):
    gate = threading.Event()

    def gated(frames: Frames) -> list[Frames]:
        if frames[0] != HELLO1:
            gate.wait(10)
        return obliging(frames)

    called: list[Push] = []
    with RouterSocket(gated) as router, kind.Sender(router.endpoint) as sender:
        ticket = sender.push_nowait("a", "x")
        ticket.add_done_callback(called.append)
        assert not ticket.done()
        with pytest.raises(SenderError, match=r"timed_out: no answer within 0\.05 s"):
            ticket.result(timeout=0.05)
        gate.set()
        assert ticket.result(timeout=10) is Outcome.SENT
        poll_until(kind, lambda: called == [ticket])
        ticket.add_done_callback(called.append)
        assert called == [ticket, ticket]


def test_a_callback_that_fails_harms_nobody(kind: Any, caplog: pytest.LogCaptureFixture):
    with RouterSocket() as router, kind.Sender(router.endpoint) as sender:
        sender.wait_ready(10)
        sender.push_nowait("a", "x").add_done_callback(lambda _: 1 / 0)
        assert sender.push("b", "y") is Outcome.SENT
        poll_until(kind, lambda: "callback of a push has failed" in caplog.text)


def test_questions(kind: Any):
    with RouterSocket() as router, kind.Sender(router.endpoint) as sender:
        assert sender.stat() == {"router": {"version": "test"}}
        assert sender.kick(["a", "absent"]) == [True, False]
        assert sender.find([]) == []
        tokens = [str(number) for number in range(2500)]
        assert [answer["worker"] for answer in sender.find(tokens)] == tokens
        outcome, counts = sender.push_all("x")
        assert outcome is Outcome.SENT
        assert counts == {"sent": 3}


def test_refused_request_raises(kind: Any):
    def refuse(frames: Frames) -> list[Frames]:
        if frames[0] == HELLO1:
            return obliging(frames)
        return [encode_fail(frames[1], RequestError("not_supported", "ttl is not supported yet"))]

    with RouterSocket(refuse) as router, kind.Sender(router.endpoint) as sender:
        with pytest.raises(SenderError, match="not_supported: ttl is not supported yet") as caught:
            sender.push("a", "x", ttl=5)
        assert caught.value.code == "not_supported"


def test_queue_is_bounded(kind: Any):
    with (
        RouterSocket(only_hello) as router,
        kind.Sender(router.endpoint, queue_pushes=3, give_up_s=0.5, retries=0) as sender,
    ):
        tickets = [sender.push_nowait("a", "x") for _ in range(3)]
        with pytest.raises(SenderError, match="queue_full: 3 pushes of 3 bytes are waiting"):
            sender.push_nowait("a", "x")
        assert sender.push("b", "y") in (Outcome.UNKNOWN, Outcome.UNAVAILABLE), "waited for room, then was given up"
        assert all(ticket.done() for ticket in tickets)


def test_bytes_in_the_queue_are_bounded(kind: Any):
    with RouterSocket(only_hello) as router, kind.Sender(router.endpoint, queue_bytes=1000, give_up_s=0.2) as sender:
        sender.push_nowait("a", "x" * 1000)
        with pytest.raises(SenderError, match="queue_full"):
            sender.push_nowait("b", "x")


def test_many_callers_at_once(kind: Any):
    with RouterSocket() as router, kind.Sender(router.endpoint, window=2, queue_pushes=20) as sender:
        outcomes: list[Outcome] = []
        kind.run(lambda: outcomes.extend([sender.push("a", "x") for _ in range(20)]), times=20)
        assert outcomes == [Outcome.SENT] * 400
        assert len(list(router.pushed())) == 400
        assert sender.statistics.pushes == 400


def test_restarted_router_gets_everything_unanswered_again_with_the_same_ids(kind: Any):
    with RouterSocket(only_hello) as first:
        sender = kind.Sender(first.endpoint, batch_pushes=2)
        tickets = [sender.push_nowait(token, token) for token in ("a", "b", "c", "d", "e")]
        poll_until(kind, lambda: len(list(first.pushed())) == 5)
    with RouterSocket(port=first.port) as second:
        assert [ticket.result(10) for ticket in tickets] == [Outcome.SENT] * 5
        assert second.received[0][0] == HELLO1
        assert second.requests() == first.requests()
        assert sender.statistics.routers_lost == 1
        sender.close()


def test_moves_on_to_the_next_router(kind: Any):
    with RouterSocket() as first, RouterSocket() as second:
        nobody = f"tcp://127.0.0.1:{free_ports(1)[0]}"
        with kind.Sender([nobody, first.endpoint, second.endpoint]) as sender:
            assert sender.push("a", "x") is Outcome.SENT
            assert sender.endpoint == first.endpoint
            first.close()
            assert sender.push("b", "y") is Outcome.SENT
            assert sender.endpoint == second.endpoint


def test_router_that_only_listens_is_left(kind: Any):
    with RouterSocket(lambda frames: []) as silent, RouterSocket() as good:  # noqa: SIM117
        with kind.Sender([silent.endpoint, good.endpoint], hello_timeout_s=0.2) as sender:
            assert sender.push("a", "x") is Outcome.SENT
            assert silent.received[0][0] == HELLO1
            assert silent.requests() == []


def test_nobody_answers(kind: Any):
    port = free_ports(1)[0]
    with kind.Sender(f"tcp://127.0.0.1:{port}", give_up_s=0.2) as sender:
        with pytest.raises(SenderError) as caught:
            sender.wait_ready(0.2)
        assert caught.value.code == "unreachable"
        assert str(port) in caught.value.message
        assert "within 0.2 s (connection refused)" in caught.value.message
        assert sender.push("a", "x") is Outcome.UNAVAILABLE
        with pytest.raises(SenderError, match=r"timed_out: no router answered within 0\.2 s"):
            sender.stat()


@pytest.mark.parametrize("endpoint", ["nonsense", "tcp://127.0.0.1", "http://localhost:1"])
def test_endpoint_that_is_none(kind: Any, endpoint: str):
    with kind.Sender(endpoint) as sender:
        with pytest.raises(SenderError, match="unreachable") as caught:
            sender.wait_ready(0.2)
        assert f"({endpoint}: " in caught.value.message
        sender.close(0)


def test_settings_that_cannot_be(kind: Any):
    with pytest.raises(ValueError, match="window: 0 is less than 1"):
        kind.Sender(window=0)
    with pytest.raises(ValueError, match="retry_outcomes"):
        kind.Sender(retry_outcomes=[Outcome.SENT])
    with pytest.raises(SenderError, match="bad_name"):
        kind.Sender(name="x" * 65)
    with pytest.raises(SenderError, match="bad_endpoint"):
        kind.Sender([])


def test_payload_that_is_neither_text_nor_bytes(kind: Any):
    with RouterSocket() as router, kind.Sender(router.endpoint) as sender:
        with pytest.raises(TypeError):
            sender.push("a", 5)
        assert sender.push("a", bytearray(b"x")) is Outcome.SENT
        assert list(router.pushed()) == [(b"a", b"x")]


@pytest.mark.parametrize(("endpoint", "ipv6"), [("tcp://localhost:1", False), ("tcp://[::1]:1", True)])
def test_names_are_looked_up_as_ipv4(endpoint: str, ipv6: bool):
    """With IPv6 on, libzmq takes localhost for ::1 where the machine's file of hosts has it, and never tries IPv4."""
    connection = Connection(zmq.Context.instance(), endpoint, 1, None)
    assert bool(connection.sockets[0].ipv6) is ipv6
    connection.close()


def test_after_a_fork_it_says_so():
    program = """
import os, sys
from services.sender import Sender, SenderError
sender = Sender(sys.argv[1])
ticket = sender.push_nowait("a", "x")
ticket.result()
late = sender.push_nowait("a", "x")
if os.fork() == 0:
    push, find = (lambda: sender.push("a", "x")), (lambda: sender.find(["a"]))
    for ask in (push, find, sender.flush, lambda: sender.wait_for(late, 1)):
        try:
            ask()
        except SenderError as error:
            print(error.code, flush=True)
    sender.close()
    print("closed", flush=True)
    os._exit(0)
os.wait()
print(sender.push("a", "x").name)
sender.close()
"""
    with RouterSocket() as router:
        done = subprocess.run(
            [sys.executable, "-c", program, router.endpoint], capture_output=True, text=True, timeout=20, check=False
        )
    assert done.stdout.split() == ["forked"] * 4 + ["closed", "SENT"], done.stderr


def test_close_waits_for_answers_and_ends(kind: Any):
    with RouterSocket() as router:
        sender = kind.Sender(router.endpoint)
        tickets = [sender.push_nowait(str(number), "x") for number in range(500)]
        sender.close()
        assert all(ticket.result(0) is Outcome.SENT for ticket in tickets)
        sender.close()
        for refused in (lambda: sender.push("a", "x"), sender.stat, lambda: list(sender.push_many([("a", "x")]))):
            with pytest.raises(SenderError, match="closed"):
                refused()


def test_close_in_a_hurry_tells_what_is_known(kind: Any):
    with RouterSocket(only_hello) as router:
        sender = kind.Sender(router.endpoint, window=1, batch_pushes=1)
        sent, waiting = sender.push_nowait("a", "x"), sender.push_nowait("b", "x")
        poll_until(kind, lambda: len(router.requests()) == 1)
        started = time.monotonic()
        sender.close(flush_s=0.1)
        assert time.monotonic() - started < 5
        assert [sent.result(), waiting.result()] == [Outcome.UNKNOWN, Outcome.UNAVAILABLE]


def test_flush(kind: Any):
    with RouterSocket() as router, kind.Sender(router.endpoint) as sender:
        assert sender.flush(0)
        ticket = sender.push_nowait("a", "x")
        assert sender.flush(10)
        assert ticket.done()


def test_curve(kind: Any):
    server, client = zmq.curve_keypair(), zmq.curve_keypair()
    with RouterSocket(curve=server) as router:
        with kind.Sender(router.endpoint, curve=CurveKeys(server[0], *client)) as sender:
            assert sender.push("a", "x") is Outcome.SENT
        for keys in (None, CurveKeys(client[0], *client)):
            with (
                kind.Sender(router.endpoint, curve=keys, hello_timeout_s=0.2) as sender,
                pytest.raises(SenderError, match="unreachable"),
            ):
                sender.wait_ready(0.3)
        assert len(router.requests()) == 1


def test_hub_goes_on_while_a_greenlet_waits():
    ticks = 0

    def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            gevent.sleep(0.001)

    with RouterSocket(only_hello) as router, Greenlets.Sender(router.endpoint, give_up_s=0.3) as sender:
        ticker = gevent.spawn(tick)
        assert sender.push("a", "x") is Outcome.UNKNOWN
        ticker.kill()
        assert ticks > 20


def test_idle_greenlets_cost_nothing():
    """A descriptor that stays readable would spin the hub."""
    with RouterSocket() as router, Greenlets.Sender(router.endpoint) as sender:
        sender.push("a", "x")
        before = time.process_time()
        gevent.sleep(0.5)
        assert time.process_time() - before < 0.1


def test_shells_say_how_they_differ():
    assert issubclass(Sender, Shell)
    assert issubclass(services.sender.gevent.Sender, Shell)


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


def test_threads_need_no_gevent():
    assert run_python("import services.sender, sys; sys.exit('gevent' in sys.modules)").returncode == 0


def test_threads_refuse_a_monkey_patched_process():
    done = run_python("from gevent import monkey; monkey.patch_all(); import services.sender as s; s.Sender()")
    assert "wrong_shell: threading is monkey-patched: use services.sender.gevent" in done.stderr


def test_greenlets_work_in_a_monkey_patched_process():
    with RouterSocket() as router:
        done = run_python(
            "from gevent import monkey; monkey.patch_all(); import services.sender.gevent as s\n"
            f"with s.Sender({router.endpoint!r}) as sender: print(sender.push('a', 'x').name)"
        )
    assert done.stdout == "SENT\n", done.stderr


def test_a_forgotten_sender_does_not_keep_the_process():
    with RouterSocket(only_hello) as router:
        done = run_python(
            f"import services.sender as s; sender = s.Sender({router.endpoint!r}); sender.push_nowait('a', 'x')"
        )
    assert done.returncode == 0, done.stderr


def test_a_request_of_many_pushes_without_waiting(kind: Any):
    with RouterSocket() as router, kind.Sender(router.endpoint, name="billing") as sender:
        tickets = sender.push_request([("a", "x"), ("a", "y"), ("b", "z")], ttl=5)
        assert [ticket.result(10) for ticket in tickets] == [Outcome.SENT] * 3
        assert sorted(router.pushed()) == [(b"a", b"x"), (b"a", b"y"), (b"b", b"z")]
        assert len({sender.push_id(ticket) for ticket in tickets}) == 3


def test_a_request_with_an_id_goes_as_it_is(kind: Any):
    with RouterSocket() as router, kind.Sender(router.endpoint, name="billing", batch_pushes=2) as sender:
        pairs = [("a", "x"), ("a", "y"), ("b", "z")]
        tickets = sender.push_request(pairs, id='k/"1"', ttl=5)
        assert [ticket.result(10) for ticket in tickets] == [Outcome.SENT] * 3
        (request,) = router.requests()
        assert (decode_push(request).options.id, decode_push(request).options.ttl) == ('k/"1"', 5)
        assert list(router.pushed()) == [(token.encode(), payload.encode()) for token, payload in pairs]
        prefix = id_prefix(b"billing", b'k/"1"')
        assert [sender.push_id(ticket) for ticket in tickets] == [push_id(prefix, index) for index in range(3)]
        assert sender.push("a", "again") is Outcome.SENT
        with pytest.raises(SenderError, match="bad_options: id is not text"):
            sender.push_request(pairs, id="k" * 513)
        assert sender.push_request([], id="k") == []


def test_a_request_with_an_id_that_never_goes(kind: Any):
    with RouterSocket() as router, kind.Sender(router.endpoint, give_up_s=0.2) as sender:
        sender.wait_ready(10)
        router.close()
        waiting = sender.push_request([("a", "x")], id="k")
        assert waiting[0].result(10) in (Outcome.UNAVAILABLE, Outcome.UNKNOWN)
    with kind.Sender("tcp://127.0.0.1:1", give_up_s=30, queue_pushes=2) as sender:
        unsent = sender.push_request([("a", "x"), ("b", "y")], id="k")
        assert sender.push_id(unsent[0]) is None
        with pytest.raises(SenderError, match="queue_full"):
            sender.push_request([("c", "z")])
        sender.close(0)
        assert [ticket.result(10) for ticket in unsent] == [Outcome.UNAVAILABLE] * 2


def test_a_request_that_is_too_large_for_a_frame(kind: Any):
    with RouterSocket() as router, kind.Sender(router.endpoint) as sender:
        sender.wait_ready(10)
        (ticket,) = sender.push_request([("a", b"x" * (64 << 20))], id="k")
        assert ticket.result(10) is Outcome.TOO_LARGE
        assert not router.requests()
