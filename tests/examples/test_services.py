"""The services of examples/ answer clients of a real fleet; killed in the middle of calls, none goes without answer."""

import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from shared import places
from tests.clients.conversations import Conversation
from tests.clients.kinds import connect
from tests.clients.packets import PUB_ACK, PUBLISH
from tests.docs.documents import blocks, read
from tests.examples.programs import EXAMPLES, Program
from tests.fleet.fleet_process import Fleet
from tests.fleet.processes import wait_until

FP, MS, GQ = 16, 18, 26
F0, F1, F3 = 0xF0, 0xF1, 0xF3


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    """One whose services are those of the tests; an answer may take 3 s."""
    with Fleet(routers=2, call_timeout_ms=3000) as started:
        yield started


def publish(client: Conversation, topic: int, fields: object, message_id: int = 0) -> tuple[int, bytes]:
    """(code, payload) of the answer."""
    client.send(PUBLISH, fields, sub_signal=topic, message_id=message_id)
    return read_answer(client, topic)[1:]


def read_answer(client: Conversation, topic: int) -> tuple[int, int, bytes]:
    """(message_id, code, payload)."""
    answer = client.read()
    assert (answer.signal, answer.sub_signal) == (PUB_ACK, topic)
    return answer.message_id, answer.body[0], answer.body[1:]


def wait_for_topic(client: Conversation, topic: int, fields: object) -> None:
    """Until the worker knows that it is answered."""
    wait_until(lambda: publish(client, topic, fields)[0] != F0, f"a service for {topic}")


def wait_until_under_way(fleet: Fleet, count: int) -> None:
    """Until services have so many calls."""

    def outstanding() -> int:
        figures = [fleet.stat(router=router)["services"].values() for router in range(2)]
        return sum([service["outstanding"] for services in figures for service in services])

    wait_until(lambda: outstanding() >= count, f"{count} calls under way")


@pytest.fixture
def start_node(fleet: Fleet, node_service: list[str]) -> Iterator[Callable[[], Program]]:
    """Starts the Node service, which serves at both routers when this returns."""
    endpoints = [places.service_endpoint(fleet.settings, router) for router in range(2)]
    with ExitStack() as stack:

        def start() -> Program:
            program = stack.enter_context(Program([*node_service, *endpoints]))
            assert sorted(program.lines(2)) == [f"serving at {endpoint}" for endpoint in endpoints]
            return program

        yield start


def test_the_program_of_the_document_answers(fleet: Fleet, tmp_path: Path) -> None:
    (tmp_path / "friends.py").write_text(blocks(read("services.md"), "python")[0])
    program = Program([sys.executable, str(tmp_path / "friends.py")], fleet.environ)
    with program, connect("ws_binary", fleet.address) as client:
        client.subscribe("alice")
        wait_for_topic(client, FP, None)
        assert publish(client, FP, None) == (0, b'{"friends": ["bob"], "of": "alice"}')
        program.tell(signal.SIGTERM)
        assert program.ended() == 0
        wait_until(lambda: publish(client, FP, None)[0] == F0, "it has left")


def test_the_python_service_answers(fleet: Fleet) -> None:
    program = Program([sys.executable, str(EXAMPLES / "service.py")], fleet.environ)
    with program, connect("v2", fleet.address) as alice, connect("v1", fleet.address) as bob:
        alice.subscribe("alice")
        bob.subscribe("bob")
        wait_for_topic(alice, FP, None)
        assert publish(alice, FP, None) == (0, b'{"friends": ["bob", "carol"]}')
        assert publish(alice, MS, {"to": "bob", "text": "hello"}) == (0, b"SENT")
        assert json.loads(bob.read_push().body) == {"from": "alice", "text": "hello"}
        assert publish(bob, MS, {"to": "dave"}) == (1, b"not a friend")
        assert publish(bob, MS, b"{")[0] == 1
        program.tell(signal.SIGTERM)
        assert program.ended() == 0
        wait_until(lambda: publish(alice, FP, None)[0] == F0, "it has left")


@pytest.mark.parametrize("kind", ["v2", "v1", "ws_binary"])
def test_the_node_service_answers(fleet: Fleet, start_node: Callable[[], Program], kind: str) -> None:
    program = start_node()
    with connect(kind, fleet.address) as client:
        client.subscribe(f"asks-{kind}")
        wait_for_topic(client, GQ, {"ask": "x"})
        code, payload = publish(client, GQ, {"ask": "你好 a"}, message_id=7)
        assert (code, json.loads(payload)) == (0, {"answer": "你好 A", "token": f"asks-{kind}"})
        assert publish(client, GQ, {"ask": 1}) == (1, b'{"message":"ask what?"}')
        for number in range(1, 21):
            client.send(PUBLISH, {"ask": "x", "after_ms": 20 - number}, sub_signal=GQ, message_id=number)
        assert [read_answer(client, GQ)[0] for _ in range(20)] == list(range(1, 21))
        client.send(PUBLISH, {"ask": "the last", "after_ms": 300}, sub_signal=GQ, message_id=21)
        wait_until_under_way(fleet, 1)
        program.tell(signal.SIGTERM)
        assert read_answer(client, GQ)[:2] == (21, 0)
        assert program.ended() == 0


def test_a_service_that_is_killed_costs_no_answer(fleet: Fleet, start_node: Callable[[], Program]) -> None:
    """Some calls are under way when it dies; the topic may be repeated, so the other instance answers them."""
    programs = [start_node(), start_node()]
    with ExitStack() as stack:
        clients = [stack.enter_context(connect("v2", fleet.address)) for _ in range(10)]
        for number, client in enumerate(clients):
            client.subscribe(f"killed-{number}")
            wait_for_topic(client, GQ, {"ask": "x"})
        for client in clients:
            for number in range(1, 11):
                client.send(PUBLISH, {"ask": "x", "after_ms": 30}, sub_signal=GQ, message_id=number)
        assert read_answer(clients[0], GQ)[:2] == (1, 0)
        programs[0].tell(signal.SIGKILL)
        answers = [read_answer(clients[0], GQ)[:2] for _ in range(9)]
        answers += [read_answer(client, GQ)[:2] for client in clients[1:] for _ in range(10)]
    assert sorted(answers) == sorted([(number, 0) for number in range(1, 11)] * 10)[1:]


def test_the_only_service_is_killed(fleet: Fleet, start_node: Callable[[], Program]) -> None:
    """Nobody is left to repeat the calls: they wait for an instance until their time is over, and are answered so."""
    program = start_node()
    with connect("v2", fleet.address) as client:
        client.subscribe("alone")
        wait_for_topic(client, GQ, {"ask": "x"})
        for number in range(1, 6):
            client.send(PUBLISH, {"ask": "x", "after_ms": 10_000}, sub_signal=GQ, message_id=number)
        wait_until_under_way(fleet, 5)
        program.tell(signal.SIGKILL)
        answers = [read_answer(client, GQ)[:2] for _ in range(5)]
    assert sorted([number for number, _ in answers]) == list(range(1, 6))
    assert {code for _, code in answers} <= {F0, F1, F3}
