"""docs/sender-protocol.md: its numbers and codes are the code's, its senders are those of examples/."""

import re

import pytest
import ujson

from router.counters import FAIL_CODES
from router.requesters import limits
from shared.outcomes import FINAL, RETRYABLE, Outcome
from shared.push_ids import id_prefix, push_id
from shared.requests import PUSH2, decode_push, unpack_targets
from shared.settings import Settings, describe
from tests.docs.documents import ROOT, blocks, read, section

TEXT = read("sender-protocol.md")


@pytest.mark.parametrize("outcome", Outcome)
def test_outcome_is_listed(outcome: Outcome) -> None:
    row = re.search(rf"^\| {outcome.value} \| {outcome.name} \| .* \|(.*)\|(.*)\|$", TEXT, re.MULTILINE)
    assert row
    assert (row[1].strip() == "yes") == (outcome in FINAL)
    assert (row[2].strip() == "yes") == (outcome in RETRYABLE)


@pytest.mark.parametrize("code", FAIL_CODES)
def test_failure_is_listed(code: str) -> None:
    assert f"\n| `{code}` |" in section(TEXT, "## Failures")


def test_no_failure_is_made_up() -> None:
    assert set(re.findall(r"^\| `(\w+)` \|", section(TEXT, "## Failures"), re.MULTILINE)) == set(FAIL_CODES)


def test_hello_answer_is_the_routers() -> None:
    said = ujson.loads(blocks(section(TEXT, "## HELLO1"), "json")[0])
    assert said["limits"] == limits(Settings())
    assert said["max_frame_bytes"] == Settings().max_frame_bytes


def test_packed_request_decodes_to_the_plain_one() -> None:
    line = re.search(r"PUSH2 · 7 · (\{.*\}) · ([0-9 ]+) \(hex\) · (\w+)\n", TEXT)
    assert line
    request = decode_push([PUSH2, b"7", line[1].encode(), bytes.fromhex(line[2]), line[3].encode()])
    assert request.options.id == "order-4711"
    assert list(unpack_targets(request.index, request.data)) == [(b"alice", b"hello"), (b"bob", b"ciao")]


def test_push_id_is_right() -> None:
    assert push_id(id_prefix(b"billing", b"order-4711"), 0) in section(TEXT, "## Push ids")


def test_settings_in_the_table_of_limits_exist() -> None:
    named = set(re.findall(r"`(\w+)` [0-9]", section(TEXT, "## Limits")))
    assert {"max_frame_bytes", "pending_bytes_max"} <= named <= {name for name, _, _ in describe()}


@pytest.mark.parametrize(("language", "program"), [("python", "sender.py"), ("js", "node-sender/sender.js")])
def test_sender_is_that_of_the_examples(language: str, program: str) -> None:
    (code,) = blocks(section(TEXT, "## A complete sender"), language)
    assert code in (ROOT / "examples" / program).read_text()
