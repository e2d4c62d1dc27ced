"""docs/service-protocol.md: its numbers, messages and codes are the code's, and its service serves."""

import re
import threading
from typing import Any

import pytest
import ujson

from router.service_members import TOPICS_MAX, WINDOW_DEFAULT, WINDOW_MAX, checked_serve
from router.service_messages import SERVICES_MAX
from router.services import LATE_S
from shared import calls
from shared.calls import TOLD1, TOPICS1, Answer, decode_answer, encode_call
from shared.settings import Settings, describe
from shared.signals import PublishError
from tests.docs.documents import blocks, read, section
from tests.router.driven_services import DrivenServices
from tests.router.router_process import RouterProcess, StandInWorker

TEXT = read("service-protocol.md")
MESSAGES = [value.decode() for value in vars(calls).values() if isinstance(value, bytes)]


@pytest.mark.parametrize("message", sorted(set(MESSAGES) - {"TOPICS1"}))
def test_message_is_listed(message: str) -> None:
    assert f"\n| {message} |" in section(TEXT, "## Connection")


@pytest.mark.parametrize("code", set(PublishError) - {PublishError.OK, PublishError.NOT_BOUND})
def test_code_is_listed(code: PublishError) -> None:
    assert f"\n| `{code:X}` |" in section(TEXT, "## Calls")


def test_said_and_answered_are_what_the_router_takes_and_says() -> None:
    serve1, serving1 = blocks(section(TEXT, "## SERVE1"), "json")
    assert checked_serve([b"SERVE1", serve1.encode()]).window == WINDOW_DEFAULT
    core = DrivenServices()
    core.tell(b"s", b"SERVE1", serve1.encode())
    ((_, frames),) = core.to_services
    said, written = ujson.loads(frames[1]), ujson.loads(serving1)
    assert said | {"version": ""} == written | {"version": ""}


def test_settings_and_their_defaults() -> None:
    defaults = {name: default for name, default, _ in describe()}
    named = re.findall(r"`(\w+_(?:ms|queue_max))` \(?(\d[\d,]*)", TEXT)
    assert {"service_timeout_ms", "call_timeout_ms", "service_queue_max"} <= {name for name, _ in named}
    assert all(defaults[name] == value.replace(",", "") for name, value in named)
    assert Settings().body_limit_bytes == 1 << 20


def test_bounds() -> None:
    assert f"{WINDOW_MAX:,} at most" in TEXT
    assert SERVICES_MAX == TOPICS_MAX == 1024
    assert f"{LATE_S:g} seconds" in TEXT


def test_the_service_serves() -> None:
    (code,) = blocks(TEXT, "python")
    namespace: dict[str, Any] = {}
    exec(code, namespace)
    with RouterProcess(service_heartbeat_ms=100, service_timeout_ms=5000) as router, StandInWorker(router) as worker:
        endpoint = f"ipc://{router.data_dir}/run/service-0.sock"
        threading.Thread(target=namespace["serve"], args=(endpoint,), daemon=True).start()
        assert ujson.loads(worker.receive(TOPICS1)[1]) == {"topics": [[9, 16, True]]}
        worker.send(encode_call(calls.ASK1, 5, {"signal": 9, "sub_signal": 16}, b"hello"))
        assert decode_answer(worker.receive(TOLD1)) == Answer(5, 0, b"HELLO")
