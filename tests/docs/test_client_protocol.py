"""docs/client-protocol.md: its numbers are the code's, its packets are packets."""

import re

import pytest

from shared.bodies import decode_body
from shared.push_ids import id_prefix, push_id
from shared.reasons import WEBSOCKET_CODES, CloseReason
from shared.settings import describe
from shared.signals import PublishError, Signal, SubSignal
from tests.docs.documents import blocks, packet_lines, read, section

TEXT = read("client-protocol.md")
PACKETS = [line for block in blocks(TEXT, "packets") for line in packet_lines(block)]


def test_there_are_packets_of_every_version() -> None:
    assert {line.data[:2] if line.data[0] == 0xF8 else b"" for line in PACKETS} == {b"\xf8\1", b"\xf8\2", b""}


@pytest.mark.parametrize("line", PACKETS, ids=lambda line: line.name)
def test_packet_is_what_its_comment_says(line) -> None:
    assert Signal(line.packet.signal).name == line.name


def test_compressed_packet_inflates_to_what_is_said() -> None:
    (line,) = [line for line in PACKETS if line.packet.compressed]
    assert decode_body(line.packet, None, 1000) == b"hello " * 50


def test_push_id_is_that_of_the_sender_protocol() -> None:
    shown = push_id(id_prefix(b"billing", b"order-4711"), 0)
    assert any(line.packet.body == bytes([len(shown)]) + shown.encode() + b"hello" for line in PACKETS)
    assert f'"pushId":"{shown}"' in TEXT


@pytest.mark.parametrize("signal", Signal)
def test_signal_is_listed(signal: Signal) -> None:
    assert f"\n| {signal.value} | {signal.name} |" in section(TEXT, "## Numbers")


@pytest.mark.parametrize("sub_signal", SubSignal)
def test_sub_signal_is_listed(sub_signal: SubSignal) -> None:
    assert f"| {sub_signal.value} | {sub_signal.name} |" in section(TEXT, "## Numbers")


@pytest.mark.parametrize("code", [code for code in PublishError if code])
def test_publish_error_is_listed(code: PublishError) -> None:
    assert f"| `{code:02X}` |" in section(TEXT, "### PUBLISH")


@pytest.mark.parametrize("reason", CloseReason)
def test_close_reason_is_listed_with_its_code(reason: CloseReason) -> None:
    assert f"\n| `{reason.value}` | {WEBSOCKET_CODES[reason]} |" in section(TEXT, "## How a connection ends")


def test_settings_in_the_table_of_limits_exist() -> None:
    named = set(re.findall(r"`(\w+_\w+)` \|", section(TEXT, "## Limits"))) - {reason.value for reason in CloseReason}
    assert named
    assert named <= {name for name, _, _ in describe()}
