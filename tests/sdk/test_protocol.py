"""The rules of the Python SDK, with literal packets and a made-up time."""

import pytest
from push_gateway_client import Options, QueueFullError, State  # type: ignore[import-not-found]
from push_gateway_client import actions as acts
from push_gateway_client.packets import Packet, encode_json, encode_packet  # type: ignore[import-not-found]
from push_gateway_client.protocol import Protocol  # type: ignore[import-not-found]

SUB, PUSH, DISCONNECT = 1, 4, 8


def json_packet(signal: int, **body: object) -> bytes:
    return encode_packet(Packet(signal, body=encode_json(body)))


def push(message_id: int) -> bytes:
    return encode_packet(Packet(PUSH, message_id=message_id, body=b"\x03a-0hello"))


def bound() -> Protocol:
    protocol = Protocol(Options(token="alice"), chance=lambda: 0.5)
    protocol.start(0.0)
    protocol.opened(0.0)
    protocol.receive_data(json_packet(SUB, status=200, token="alice", granted=["ack", "ids"]), 0.0)
    protocol.take_actions()
    return protocol


def test_a_push_is_acknowledged_when_it_was_handled_and_a_copy_at_once() -> None:
    protocol = bound()
    protocol.receive_data(push(1), 1.0)
    assert [type(action) for action in protocol.take_actions()] == [acts.Deliver]
    protocol.handled("a-0", None, 2.0)
    assert protocol.take_actions() == [acts.Send(bytes.fromhex("F8020A00000000000001"))]
    protocol.receive_data(push(2), 3.0)
    assert protocol.take_actions() == [acts.Send(bytes.fromhex("F8020A00000000000002"))]


def test_a_failed_push_is_not_acknowledged() -> None:
    protocol = bound()
    protocol.receive_data(push(1), 1.0)
    protocol.take_actions()
    protocol.handled("a-0", ValueError(), 2.0)
    assert [type(action) for action in protocol.take_actions()] == [acts.Fault]


@pytest.mark.parametrize(("body", "pause"), [({"retry_after_ms": 7000}, 7.0), ({}, 0.25)])
def test_pauses(body: dict[str, int], pause: float) -> None:
    protocol = bound()
    protocol.receive_data(json_packet(DISCONNECT, reason="shutdown", **body), 0.0)
    assert (protocol.status.state, protocol.status.retry_in_s) == (State.WAITING, pause)


def test_replaced_and_refused_are_the_end() -> None:
    protocol, other = bound(), bound()
    protocol.receive_data(json_packet(DISCONNECT, reason="replaced"), 0.0)
    other.receive_data(json_packet(SUB, status=403), 0.0)
    assert (protocol.status.reason, other.status.reason) == ("replaced", "rejected")
    assert protocol.status.state is other.status.state is State.CLOSED


def test_silence_after_a_ping_ends_the_connection() -> None:
    protocol = bound()
    protocol.tick(9.9)
    assert protocol.status.state is State.CONNECTED
    protocol.tick(10.0)
    assert (protocol.status.state, protocol.status.reason) == (State.WAITING, "silent")


def test_the_queue_is_bounded() -> None:
    protocol = Protocol(Options(queue_max=1), chance=lambda: 0.0)
    protocol.start(0.0)
    protocol.publish(26, b"", 0.0)
    with pytest.raises(QueueFullError):
        protocol.publish(26, b"", 0.0)
