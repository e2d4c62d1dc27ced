"""What clients ask of services, on a real fleet; the services are in the test's own process, on the service library."""

import base64
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from services.library import ClientCall, Refusal, Returned, Service
from shared.signals import PublishError, Signal, SubSignal
from tests.clients.conversations import Conversation
from tests.clients.kinds import connect
from tests.clients.packets import CONNECT, CONNECT_ACK, DISCONNECT, PING, PUB_ACK, PUBLISH, SUB, Packet
from tests.clients.senders import OFFLINE, SENT, RawSender
from tests.clients.websocket import TextClient
from tests.fleet.fleet_process import Fleet
from tests.fleet.processes import wait_until

ECHO, REFUSES, SLOW, RAISES, NUMBERED, NOBODY = SubSignal.FP, SubSignal.GC, SubSignal.MS, SubSignal.MP, 99, SubSignal.US
TIMEOUT_S = 1
KINDS = ["v1", "v2", "ws_snake", "ws_camel", "ws_binary"]


class Backend:
    """Services of a deployment: some topics, and logins."""

    def __init__(self, fleet: Fleet) -> None:
        self.go_on = threading.Event()
        self.seen: list[ClientCall] = []
        self.waiting: list[ClientCall] = []  # all that have had to
        self.ended: list[str | None] = []
        self.service = service = Service("backend", fleet.settings, threads=8)

        @service.answers(Signal.PUBLISH, ECHO, idempotent=True)
        @service.answers(Signal.PUBLISH, NUMBERED)
        def echo(call: ClientCall) -> bytes:
            self.seen.append(call)
            return call.body

        @service.answers(Signal.PUBLISH, REFUSES)
        def refuse(call: ClientCall) -> bytes:
            raise Refusal(7, b'{"why":"no"}')

        @service.answers(Signal.PUBLISH, SLOW)
        def wait(call: ClientCall) -> bytes:
            self.waiting.append(call)
            self.go_on.wait(20)
            return call.body

        @service.answers(Signal.PUBLISH, RAISES)
        def fail(call: ClientCall) -> bytes:
            raise RuntimeError("a bug of the service")

        @service.answers(Signal.CONNECT, 0)
        def login(call: ClientCall) -> Returned:
            said = call.json()
            if said["password"] != "right":
                return Returned(SubSignal.CONNECTION_REFUSED_BAD_USER_NAME_OR_PASSWORD)
            key = base64.b64encode(b"k" * 16).decode()
            ack = {"friendHead": 3, "messageHead": "9007199254740993", "nodeAddr": "here", "nodePort": 1}
            answer = {"uid": said["userName"], "token": said["clientIdentifier"], "session_key": key, "ack": ack}
            return Returned(SubSignal.CONNECTION_ACCEPTED, json.dumps(answer).encode())

        @service.answers(Signal.DISCONNECT, 0)
        def end(call: ClientCall) -> bytes:
            self.ended.append(call.uid)
            return b""


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    with Fleet(worker_heartbeat_ms=100, call_timeout_ms=TIMEOUT_S * 1000) as started:
        yield started


@pytest.fixture(scope="module")
def backend(fleet: Fleet) -> Iterator[Backend]:
    made = Backend(fleet)
    made.service.start()
    assert made.service.wait_ready(20)
    with come(fleet, "first") as client:
        wait_until(lambda: publish(client, ECHO, {})[0] == 0, "workers know the topics")
    yield made
    made.go_on.set()
    made.service.stop()


def come(fleet: Fleet, token: str, kind: str = "v2", **options: object) -> Conversation:
    client = connect(kind, fleet.address)
    client.subscribe(token, **options)
    return client


def publish(client: Conversation, topic: int, fields: object, message_id: int = 7) -> tuple[int, bytes]:
    """(code, payload) of the answer."""
    client.send(PUBLISH, fields, sub_signal=topic, message_id=message_id)
    answer = client.read()
    assert (answer.signal, answer.sub_signal, answer.message_id) == (PUB_ACK, topic, message_id), answer
    return coded(client, answer)


def coded(client: Conversation, answer: Packet) -> tuple[int, bytes]:
    """Text clients have the payload alone, or an object with the code."""
    if not isinstance(client, TextClient):
        return answer.body[0], answer.body[1:]
    fields = json.loads(answer.body) if answer.body else {}
    return (fields["code"], b"") if isinstance(fields, dict) and "code" in fields else (0, answer.body)


@pytest.mark.parametrize("kind", KINDS)
def test_a_request_is_answered(fleet: Fleet, backend: Backend, kind: str) -> None:
    with come(fleet, f"asks-{kind}", kind) as client:
        for topic in (ECHO, NUMBERED):
            code, payload = publish(client, topic, {"x": ["你好"]})
            assert (code, json.loads(payload)) == (0, {"x": ["你好"]})
            assert backend.seen[-1].token == f"asks-{kind}"
        assert publish(client, REFUSES, {})[0] == 7
        assert publish(client, NOBODY, {})[0] == PublishError.NOT_IMPLEMENTED
        assert publish(client, RAISES, {})[0] == PublishError.NOBODY_KNOWS
    with connect(kind, fleet.address) as client:
        assert publish(client, ECHO, {})[0] == PublishError.NOT_BOUND


def test_a_slow_service_holds_up_nobody(fleet: Fleet, backend: Backend) -> None:
    backend.go_on.clear()
    with come(fleet, "waits") as client, come(fleet, "other") as other, RawSender(fleet.endpoint) as sender:
        client.send(PUBLISH, {}, sub_signal=SLOW, message_id=5)
        assert client.ping(30) == 30
        assert sender.push("waits", b"a") == SENT
        assert client.read_push().body == b"a"
        assert publish(other, ECHO, {}) == (0, b"{}")
        answer = client.read()
        assert (answer.message_id, answer.body) == (5, bytes([PublishError.TIMED_OUT]))
        backend.go_on.set()
        assert client.ping(30) == 30  # its answer, which came too late, is nobody's


def test_requests_of_one_client_come_in_order(fleet: Fleet, backend: Backend) -> None:
    with come(fleet, "orderly") as client:
        backend.seen.clear()
        for number in range(1, 201):
            client.send(PUBLISH, {"n": number}, sub_signal=ECHO, message_id=number)
        answers = [client.read() for _ in range(200)]
    assert [json.loads(call.body)["n"] for call in backend.seen] == list(range(1, 201))
    assert sorted(answer.message_id for answer in answers) == list(range(1, 201))
    assert all(answer.body[0] == 0 for answer in answers)


def test_who_has_32_requests_outstanding_is_not_read(fleet: Fleet, backend: Backend) -> None:
    backend.go_on.clear()
    with come(fleet, "greedy") as client:
        for number in range(1, 33):
            client.send(PUBLISH, {}, sub_signal=SLOW, message_id=number)
        client.send(PING, {"interval": 60}, message_id=99)
        first = client.read()
        assert (first.signal, first.body[0]) == (PUB_ACK, PublishError.TIMED_OUT)  # and not the answer to PING
        backend.go_on.set()
        rest = [client.read() for _ in range(32)]
        assert sorted(packet.message_id for packet in [first, *rest]) == [*range(1, 33), 99]


def test_a_client_moves_when_its_answer_has_come(fleet: Fleet, backend: Backend) -> None:
    backend.go_on.clear()
    with RawSender(fleet.endpoint) as sender, come(fleet, "mover") as client:
        held = str(sender.find("mover")["worker"])
        index = int(held.rpartition("/")[2])
        client.send(PUBLISH, {"x": 1}, sub_signal=SLOW, message_id=3)
        fleet.processes[f"gateway-{index}"].send(15)
        time.sleep(0.3)  # it is told to leave, and has one client that awaits an answer
        backend.go_on.set()
        answer = client.read()
        assert (answer.message_id, answer.body) == (3, b'\x00{"x": 1}')
        assert fleet.processes[f"gateway-{index}"].wait(20) == 0
        wait_until(lambda: (sender.find("mover") or {}).get("worker") not in (None, held), "it has moved")
        assert sender.push("mover", b"still here") == SENT
        assert client.read_push().body == b"still here"
        assert publish(client, ECHO, {}) == (0, b"{}")
    fleet.start_worker(index)
    fleet.wait_ready()


def log_in(client: Conversation, token: str, password: str = "right", **options: object) -> Packet:
    fields = {"userName": "u", "password": password, "clientIdentifier": token, **options}
    client.send(CONNECT, fields, message_id=9)
    answer = client.read()
    assert (answer.signal, answer.message_id) == (CONNECT_ACK, 9)
    return answer


@pytest.mark.parametrize("kind", KINDS)
def test_whoever_logs_in_is_bound(fleet: Fleet, backend: Backend, kind: str) -> None:
    token = f"login-{kind}"
    with connect(kind, fleet.address) as client, RawSender(fleet.endpoint) as sender:
        ack = log_in(client, token)
        assert ack.sub_signal == SubSignal.CONNECTION_ACCEPTED
        if isinstance(client, TextClient):
            fields = json.loads(ack.body)
            assert fields == {
                "friendHead": 3,
                "friendRqHead": 0,
                "messageHead": "9007199254740993",
                "settingHead": 0,
                "nodeAddr": "here",
                "nodePort": 1,
                "serverTime": 0,
            }
        else:  # fields 1 (varint), 2 (varint), 5 (text), 6 (varint)
            assert ack.body == b"\x08\x81\x80\x80\x80\x80\x80\x80\x10\x10\x03\x2a\x04here\x30\x01"
        assert sender.find(token)["uid"] == "u"
        assert sender.push(token, b"hello") == SENT
        assert client.read_push().body == b"hello"
        code, _ = publish(client, ECHO, {})
        assert (code, backend.seen[-1].uid) == (0, "u")
        client.send(CONNECT, {"userName": "u", "password": "right", "clientIdentifier": token}, message_id=10)
        assert client.read().sub_signal == SubSignal.CONNECTION_REFUSED_IDENTIFIER_REJECTED
        client.read_close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_password(fleet: Fleet, backend: Backend, kind: str) -> None:
    with connect(kind, fleet.address) as client:
        refused = log_in(client, f"wrong-{kind}", "wrong")
        assert refused.sub_signal == SubSignal.CONNECTION_REFUSED_BAD_USER_NAME_OR_PASSWORD
        client.read_close()


@pytest.mark.parametrize("number", range(8))
def test_a_login_after_a_subscription_binds_anew(fleet: Fleet, backend: Backend, number: int) -> None:
    """Eight tokens: some of them are another worker's."""
    old, new = f"old-{number}", f"new-{number}"
    with come(fleet, old) as client, RawSender(fleet.endpoint) as sender:
        assert log_in(client, new).sub_signal == SubSignal.CONNECTION_ACCEPTED
        assert sender.push(old, b"x") == OFFLINE
        assert sender.push(new, b"y") == SENT
        assert client.read_push().body == b"y"


def test_the_end_of_a_session_is_told(fleet: Fleet, backend: Backend) -> None:
    with connect("v2", fleet.address) as client:
        log_in(client, "ends")
        client.send(DISCONNECT, b"\x01")
        client.read_close()
    wait_until(lambda: backend.ended == ["u"], "the login service is told")


def test_bodies_are_encrypted_for_whoever_asks_and_has_logged_in(fleet: Fleet, backend: Backend) -> None:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

    cipher = AESGCM(b"k" * 16)
    with connect("v2", fleet.address) as client, RawSender(fleet.endpoint) as sender:
        log_in(client, "secret", accept=["aes-gcm"])
        assert sender.push("secret", b"whisper") == SENT
        push = client.read_push()
        assert push.encrypted
        assert cipher.decrypt(push.body[:12], push.body[12:], None) == b"whisper"
        nonce = os.urandom(12)
        body = nonce + cipher.encrypt(nonce, b'{"x":1}', None)
        client.write(client.encode(Packet(PUBLISH, body, sub_signal=ECHO, message_id=1, encrypted=True)))
        answer = client.read()
        assert cipher.decrypt(answer.body[:12], answer.body[12:], None) == b'\x00{"x":1}'
    with come(fleet, "open", accept=["aes-gcm"]) as client:
        assert client.ask(SUB, {"token": "open", "accept": ["aes-gcm"]})["granted"] == []


def test_a_worker_that_dies_amid_a_call_costs_that_client_its_connection(fleet: Fleet, backend: Backend) -> None:
    """Nobody would ever answer it; one that waits for nothing stays."""
    backend.go_on.clear()
    with RawSender(fleet.endpoint) as sender, come(fleet, "waits-for-ever") as client, ExitStack() as stack:
        worker = sender.find("waits-for-ever")["worker"]
        others = [stack.enter_context(come(fleet, f"waits-for-nothing-{number}")) for number in range(8)]
        waits = len(backend.waiting)
        client.send(PUBLISH, {}, sub_signal=SLOW, message_id=3)
        wait_until(lambda: len(backend.waiting) > waits, "the service has it")
        fleet.kill_worker(int(worker.rpartition("/")[2]))
        client.read_close()
        backend.go_on.set()
        for number, other in enumerate(others):
            wait_until(lambda token=f"waits-for-nothing-{number}": sender.find(token)["online"], "it is served")
            assert publish(other, ECHO, {}) == (0, b"{}")
    fleet.wait_ready()
    with come(fleet, "waits-for-ever") as client:
        assert publish(client, ECHO, {}) == (0, b"{}")


def test_a_router_that_dies_amid_calls_costs_their_answers(fleet: Fleet, backend: Backend) -> None:
    backend.go_on.clear()
    with come(fleet, "calls") as client:
        waits = len(backend.waiting)
        client.send(PUBLISH, {}, sub_signal=SLOW, message_id=3)
        wait_until(lambda: len(backend.waiting) > waits, "the service has it")
        fleet.kill_router()
        answer = client.read()
        assert answer.message_id == 3
        # Whichever comes first: the call's time is over, or the worker notices that the router is silent.
        assert answer.body in (bytes([PublishError.NOBODY_KNOWS]), bytes([PublishError.TIMED_OUT]))
        assert client.ping(30) == 30
        fleet.start_router()
        backend.go_on.set()
        wait_until(lambda: publish(client, ECHO, {}) == (0, b"{}"), "services are asked again")
    fleet.wait_ready()
