"""docs/operations.md says everything that it promises to say."""

import re

import pytest

from gateway.counters import new_counters as worker_counters
from router.counters import new_counters as router_counters
from shared.reasons import WEBSOCKET_CODES, CloseReason
from shared.settings import describe
from tests.docs.settings_tables import DOCUMENT, with_table

TEXT = DOCUMENT.read_text()


def test_settings_are_those_of_the_code() -> None:
    assert with_table(TEXT) == TEXT, "run: make docs"


@pytest.mark.parametrize("name", [name for name, _, _ in describe()])
def test_setting_is_described(name: str) -> None:
    assert f"| `{name}` | `PUSH_{name.upper()}` |" in TEXT


@pytest.mark.parametrize("reason", CloseReason)
def test_close_reason_is_described_with_its_code(reason: CloseReason) -> None:
    assert re.search(rf"^\| `{reason.value}` \| {WEBSOCKET_CODES[reason]} \| .{{20,}} \|$", TEXT, re.MULTILINE)


@pytest.mark.parametrize("name", sorted(worker_counters().keys() | router_counters().keys()))
def test_counter_is_described(name: str) -> None:
    family = re.sub(r"^(pushes|close|outcome|fail)_.*", r"\1_", name)
    assert f"`{name}`" in TEXT or (family != name and f"`{family}" in TEXT)
