"""The examples of both SDKs, as their READMEs run them."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.library import ClientCall, Service, Signal, SubSignal
from services.sender import Outcome, Sender
from tests.examples.programs import Program
from tests.fleet.fleet_process import ROOT, Fleet
from tests.sdk.conftest import SDK

EXAMPLES = [
    "sdk/python/examples/listen.py",
    "sdk/python/examples/listen_asyncio.py",
    "sdk/javascript/examples/listen.mjs",
]


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    with Fleet(workers=1) as started:
        service = Service("greeter", started.settings)

        @service.answers(Signal.PUBLISH, SubSignal.FP)
        def greet(call: ClientCall) -> bytes:
            return f"hello {call.token}".encode()

        service.start()
        assert service.wait_ready(20)
        yield started
        service.stop(0)


def command_of(example: str, request: pytest.FixtureRequest) -> list[str]:
    if not example.endswith(".mjs"):
        return [sys.executable, str(ROOT / example)]
    return ["node", str(request.getfixturevalue("javascript_sdk") / Path(*Path(example).parts[2:]))]


@pytest.mark.parametrize("example", EXAMPLES)
def test_example(fleet: Fleet, example: str, request: pytest.FixtureRequest) -> None:
    host, port = fleet.address
    environ = os.environ | {"PYTHONPATH": str(SDK / "python" / "src")}
    token = Path(example).stem
    with Program([*command_of(example, request), host, str(port), token], environ) as program:
        assert [line.split()[0] for line in program.lines(2)] == ["connecting", "connected"]
        assert program.line() == f"answer: hello {token}"
        with Sender(fleet.endpoint) as sender:
            for text in ("one", "two"):
                assert sender.push(token, text) is Outcome.SENT
                push_id, _, said = program.line().partition(": ")
                assert said == text
                assert len(push_id) > 30


def test_every_example_is_run() -> None:
    found = [path for folder in ("python", "javascript") for path in (SDK / folder / "examples").iterdir()]
    assert sorted(str(path.relative_to(ROOT)) for path in found) == sorted(EXAMPLES)
