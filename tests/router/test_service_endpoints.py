"""Services over real ZeroMQ sockets, with a router of its own process."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
import ujson
import zmq

from router.security import new_key_pair
from shared.calls import (
    ASK1,
    BEAT1,
    CALL1,
    RETURN1,
    SERVE1,
    SERVING1,
    TOLD1,
    TOPICS1,
    WHO1,
    Answer,
    Call,
    Topic,
    decode_answer,
    decode_call,
    encode_answer,
    encode_call,
)
from shared.keys import KeyPair, format_key_pair, format_permitted
from tests.fleet.ports import free_port_range
from tests.fleet.processes import DEADLINE_S, wait_until
from tests.router.router_process import RouterProcess, StandInWorker

FP = Topic(9, 16)


class RawService:
    """A DEALER at a router's service endpoint."""

    def __init__(self, endpoint: str, identity: bytes = b"", **options: Any) -> None:
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.linger = 0
        if identity:
            self.socket.identity = identity
        for option, value in options.items():
            setattr(self.socket, option, value)
        self.socket.connect(endpoint)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """As if the process had been killed."""
        self.context.destroy(linger=0)

    def send(self, *frames: bytes) -> None:
        self.socket.send_multipart(list(frames))

    def serve(self, instance: str = "1", **more: Any) -> dict[str, Any]:
        """SERVE1; what SERVING1 says."""
        topics = [{**FP._asdict(), "idempotent": more.pop("idempotent", False)}]
        self.send(SERVE1, ujson.dumps({"name": "chat", "instance": instance, "topics": topics, **more}).encode())
        return dict(ujson.loads(self.receive(SERVING1)[1]))

    def receive(self, kind: bytes) -> list[bytes]:
        """The next message of that kind; others are passed over."""
        while True:
            if not self.socket.poll(int(DEADLINE_S * 1000)):
                raise TimeoutError(f"no {kind.decode()}")
            frames = self.socket.recv_multipart()
            if frames[0] == kind:
                return frames

    def call(self) -> Call:
        return decode_call(self.receive(CALL1))

    def give_back(self, call: Call, body: bytes = b"done") -> None:
        self.send(*encode_answer(RETURN1, call.number, 0, body))


def local(router: RouterProcess) -> str:
    return f"ipc://{router.data_dir}/run/service-0.sock"


def ask(worker: StandInWorker, number: int, key: str = "k", **head: Any) -> None:
    worker.send(encode_call(ASK1, number, {**FP._asdict(), "key": key, **head}, b"q"))


def told(worker: StandInWorker) -> Answer:
    return decode_answer(worker.receive(TOLD1))


def counter(router: RouterProcess, name: str) -> int:
    with router.sender() as sender:
        return int(sender.stat()["router"]["counters"][name])


@pytest.fixture
def directory() -> Iterator[Path]:
    """One with a short path, that outlives a router."""
    with tempfile.TemporaryDirectory(prefix="pg", dir="/tmp") as path:
        yield Path(path)


def test_a_call_there_and_back() -> None:
    with RouterProcess() as router, StandInWorker(router) as worker, RawService(local(router)) as service:
        said = service.serve()
        assert (said["position"], said["heartbeat_ms"], said["timeout_ms"]) == (0, 1000, 5000)
        assert ujson.loads(worker.receive(TOPICS1)[1]) == {"topics": [[9, 16, False]]}
        ask(worker, 7)
        call = service.call()
        assert (call.body, call.head["key"]) == (b"q", "k")
        service.give_back(call, b"a" * 1000)
        assert told(worker) == Answer(7, 0, b"a" * 1000)
        service.receive(BEAT1)
        service.send(ASK1, bytes(8), b'{"signal":9,"sub_signal":16}', b"of itself")
        service.give_back(service.call(), b"too")
        assert service.receive(TOLD1) == [b"TOLD1", bytes(8), b"\0", b"too"]


def test_a_service_pushes_over_the_same_socket() -> None:
    with RouterProcess() as router, StandInWorker(router) as worker, RawService(local(router)) as service:
        service.send(b"PUSH1", b"r1", b"", b"t", b"p")
        worker.serve()
        assert service.receive(b"DONE1") == [b"DONE1", b"r1", b"\0", b""]
        service.send(b"STAT1", b"r2")
        assert service.receive(b"INFO1")[1] == b"r2"


def test_a_service_that_is_killed_is_noticed_within_a_heartbeat_and_its_calls_go_on() -> None:
    with (
        RouterProcess(service_heartbeat_ms=100, service_timeout_ms=60_000) as router,
        StandInWorker(router) as worker,
        RawService(local(router)) as second,
    ):
        first = RawService(local(router))
        first.serve("1", idempotent=True)
        ask(worker, 1)
        call = first.call()
        second.serve("2", idempotent=True)
        ask(worker, 2)
        first.call()
        first.close()
        again = second.call()
        assert (again.number, again.head["retry"]) == (call.number, True)
        second.give_back(again)
        second.give_back(second.call())
        assert [told(worker).number, told(worker).number] == [1, 2]
        assert counter(router, "services_lost") == 1


def test_a_silent_service_is_dead_and_asked_who_it_is_when_it_speaks() -> None:
    with (
        RouterProcess(service_heartbeat_ms=50, service_timeout_ms=200) as router,
        StandInWorker(router) as worker,
        RawService(local(router)) as service,
    ):
        service.serve()
        ask(worker, 1)
        call = service.call()
        assert told(worker) == Answer(1, 0xF3, b"")
        service.give_back(call)
        service.receive(WHO1)
        service.serve()
        ask(worker, 2)
        service.give_back(service.call())
        assert told(worker) == Answer(2, 0, b"done")
        assert counter(router, "service_answers_late") == 1


def test_a_restarted_service_of_the_same_identity() -> None:
    with RouterProcess() as router, StandInWorker(router) as worker:
        first = RawService(local(router), b"chat")
        first.serve("1")
        ask(worker, 1)
        first.call()
        with RawService(local(router), b"chat") as second:
            second.serve("2")
            assert told(worker) == Answer(1, 0xF3, b"")
            ask(worker, 2)
            second.give_back(second.call())
            assert told(worker) == Answer(2, 0, b"done")
        first.close()


def test_a_restarted_router_asks_who_speaks(directory: Path) -> None:
    with RouterProcess(directory) as router, RawService(local(router)) as service:
        service.serve()
        router.process.kill()
        with RouterProcess(directory) as again, StandInWorker(again) as worker:

            def asked() -> bool:
                service.send(BEAT1)
                return bool(service.socket.poll(100)) and service.socket.recv_multipart()[0] == WHO1

            wait_until(asked, "asked who it is")
            service.serve()
            worker.receive(TOPICS1)
            ask(worker, 1)
            service.give_back(service.call())
            assert told(worker) == Answer(1, 0, b"done")


def test_a_service_that_does_not_read_is_given_up() -> None:
    with RouterProcess(service_timeout_ms=60_000) as router, RawService(local(router), rcvhwm=1) as flood:
        flood.serve()
        head = b'{"signal":9,"sub_signal":17}'  # which nobody serves: answered at once
        for number in range(60_000):
            flood.send(ASK1, number.to_bytes(8, "big"), head, b"")
        wait_until(lambda: counter(router, "services_lost") == 1, "given up")
        with StandInWorker(router) as worker:
            ask(worker, 1)
            assert told(worker) == Answer(1, 0xF0, b"")
        assert counter(router, "service_answers_dropped") > 0


def test_garbage_harms_nobody() -> None:
    with (
        RouterProcess(max_frame_bytes=1 << 16) as router,
        StandInWorker(router) as worker,
        RawService(local(router)) as good,
        RawService(local(router)) as bad,
    ):
        good.serve()
        for frames in ([b""], [b"\0" * 40] * 1000, [b"SERVE1"], [b"RETURN1", b"x"], [b"ASK1"], [b"CALL1", b"x"]):
            bad.send(*frames)
            bad.receive(b"FAIL1")
        bad.send(b"ASK1", bytes(8), b"{}", bytes(1 << 17))  # over max_frame_bytes: its connection ends
        ask(worker, 1)
        good.give_back(good.call())
        assert told(worker) == Answer(1, 0, b"done")
        assert counter(router, "internal_errors") == 0


def test_two_sockets_whose_identities_are_the_same() -> None:
    port = free_port_range(1)
    with (
        RouterProcess(service_port=port) as router,
        StandInWorker(router) as worker,
        RawService(local(router), b"same") as here,
        RawService(f"tcp://127.0.0.1:{port}", b"same") as there,
    ):
        here.serve("1", idempotent=True)
        there.serve("2", idempotent=True)
        for number in range(40):
            ask(worker, number, key=str(number))
        here.send(b"STAT1", b"r1")
        there.send(b"STAT1", b"r2")
        assert [here.receive(b"INFO1")[1], there.receive(b"INFO1")[1]] == [b"r1", b"r2"]
        here.send(b"STAT1", b"r3")
        said = ujson.loads(here.receive(b"INFO1")[2])["services"]
        assert said["chat/1"]["outstanding"] + said["chat/2"]["outstanding"] == 40
        assert said["chat/1"]["outstanding"] > 0 < said["chat/2"]["outstanding"]


class KeyRing:
    """Keys of a router and of a service."""

    def __init__(self, directory: Path) -> None:
        self.server, self.service, self.worker = (new_key_pair() for _ in range(3))
        (directory / "router.key").touch(mode=0o600)
        (directory / "router.key").write_text(format_key_pair(self.server))
        permitted = {self.service.public: frozenset({"service"}), self.worker.public: frozenset({"worker", "push"})}
        (directory / "permitted.json").write_text(format_permitted(permitted))
        self.settings = {
            "curve_server_key_file": str(directory / "router.key"),
            "curve_permitted_file": str(directory / "permitted.json"),
        }

    def options(self, pair: KeyPair) -> dict[str, bytes]:
        return {
            "curve_serverkey": self.server.public.encode(),
            "curve_publickey": pair.public.encode(),
            "curve_secretkey": pair.secret.encode(),
        }


@pytest.fixture
def keys(directory: Path) -> KeyRing:
    return KeyRing(directory)


def test_elsewhere_only_keys_of_scope_service_get_in(keys: KeyRing) -> None:
    port = free_port_range(1)
    endpoint = f"tcp://127.0.0.1:{port}"
    with RouterProcess(service_port=port, service_host="0.0.0.0", **keys.settings) as router:
        with RawService(endpoint, **keys.options(keys.service)) as service:
            service.serve()
        for options in ({}, keys.options(keys.worker), keys.options(new_key_pair())):
            with RawService(endpoint, **options) as stranger:
                stranger.send(SERVE1, b'{"name":"n","instance":"9","topics":[]}')
                assert not stranger.socket.poll(500)
        with RawService(local(router)) as near:  # ipc needs none
            near.serve("2")


def test_elsewhere_without_keys_the_router_does_not_start() -> None:
    status, said = RouterProcess(service_port=free_port_range(1), service_host="0.0.0.0").refusal()
    assert status == 2
    assert "service_host: 0.0.0.0 is not loopback: services there need curve_server_key_file" in said


def test_a_port_that_is_taken_names_its_setting() -> None:
    with RouterProcess() as router:
        status, said = RouterProcess(service_port=router.sender_port).refusal()
        assert status == 2
        assert f"service_port: address 127.0.0.1:{router.sender_port} is in use" in said


def test_a_message_of_very_many_frames() -> None:
    with RouterProcess(max_targets=10) as router, RawService(local(router)) as service:
        service.send(b"PUSH1", b"r1", b"", *[b"t", b""] * 100_000)
        assert ujson.loads(service.receive(b"FAIL1")[2])["code"] == "too_many_targets"
        service.serve()
