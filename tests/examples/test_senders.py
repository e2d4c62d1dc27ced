"""The senders of docs/sender-protocol.md push to the client of docs/client-protocol.md through a real fleet."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from tests.examples.programs import EXAMPLES, PYTHON_SENDER, listen, send
from tests.fleet.fleet_process import Fleet


@pytest.fixture(params=["python", "node"])
def sender(request: pytest.FixtureRequest) -> list[str]:
    """Command of a sender."""
    if request.param == "node":
        command: list[str] = request.getfixturevalue("node_sender")
        return command
    return PYTHON_SENDER


def test_payloads_arrive_in_order_and_each_has_its_outcome(example_fleet: Fleet, sender: list[str]) -> None:
    token = f"示例-{Path(sender[1]).name}"
    payloads = [f"{number} 你好 wörld" for number in range(120)]
    lines = "".join([f"{token} {payload}\n" for payload in payloads])
    with listen(token, *example_fleet.address) as client:
        outcomes = send(sender, example_fleet.endpoint, lines)
        assert client.lines(len(payloads)) == payloads
    assert outcomes == [f"{token} SENT"] * len(payloads)


def test_a_bad_target_costs_only_itself(example_fleet: Fleet, sender: list[str]) -> None:
    token = f"beside-{Path(sender[1]).name}"
    with listen(token, *example_fleet.address) as client:
        outcomes = send(sender, example_fleet.endpoint, f"nobody a\n b\n{token} c\n{'x' * 256} d\n")
        assert client.line() == "c"
    assert outcomes == ["nobody OFFLINE", " REFUSED", f"{token} SENT", f"{'x' * 256} REFUSED"]


def test_it_says_hello_to_a_new_router(example_fleet: Fleet) -> None:
    sender = _module("sender").Sender(example_fleet.endpoint, "restarts")
    assert sender.push([("nobody", "1")], "first") == ["OFFLINE"]
    example_fleet.stop_router()
    example_fleet.start_router()
    example_fleet.wait_ready()
    with listen("restarts", *example_fleet.address) as client:
        assert sender.push([("restarts", "2")], "second") == ["SENT"]
        assert sender.push([("restarts", "2")], "second") == ["SENT"]
        assert sender.push([("restarts", "3")], "third") == ["SENT"]
        assert client.lines(2) == ["2", "3"]
    assert example_fleet.stat()["router"]["counters"]["fail_hello_needed"] == 1


def _module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
