import pytest
import ujson

from services.clients.subscriptions import Options, Subscription, disconnected
from shared.errors import ClientError
from shared.packets import Packet
from shared.signals import Signal


def answer(signal: Signal, **body: object) -> Packet:
    return Packet(signal, body=ujson.dumps(body).encode())


def bound(options: Options = Options(), granted: tuple[str, ...] = (), now: float = 0.0) -> Subscription:  # noqa: B008
    subscription = Subscription("alice", options)
    subscription.packets_to_send(now)
    subscription.receive_packet(answer(Signal.SUB, status=200, token="alice", granted=list(granted)), now)
    return subscription


def test_sub_says_what_was_asked_for():
    asked = Options(uid="u", ack=True, ids=True, accept=["deflate"], base64=True)
    (sub,) = Subscription("alice", asked).packets_to_send(0.0)
    assert sub.signal == Signal.SUB
    assert ujson.loads(sub.body) == {
        "token": "alice",
        "uid": "u",
        "ack": True,
        "ids": True,
        "accept": ["deflate"],
        "encoding": "base64",
    }
    (plain,) = Subscription(None, Options()).packets_to_send(0.0)
    assert ujson.loads(plain.body) == {}


def test_the_answer_names_the_token_and_what_is_granted():
    subscription = Subscription(None, Options(ack=True))
    subscription.receive_packet(answer(Signal.SUB, status=200, token="abc123", granted=["ack"]), 0.0)
    assert (subscription.bound, subscription.token, subscription.granted) == (True, "abc123", {"ack"})


def test_refused():
    with pytest.raises(ClientError, match="refused SUB with status 403: not yours") as caught:
        Subscription("alice", Options()).receive_packet(answer(Signal.SUB, status=403, message="not yours"), 0.0)
    assert caught.value.reason == "403"


@pytest.mark.parametrize("body", [b"", b"[]", b"no json", b'{"status":"200"}'])
def test_an_answer_that_is_none_is_a_refusal(body: bytes):
    with pytest.raises(ClientError, match="refused SUB"):
        Subscription("alice", Options()).receive_packet(Packet(Signal.SUB, body=body), 0.0)


def test_pushes_come_as_they_are():
    delivery = bound().receive_packet(Packet(Signal.PUSH, 17, 0, b"\x00\xff"), 1.0)
    assert delivery == (b"\x00\xff", "", Signal.PUSH, 17, 0)


def test_pushes_are_acknowledged_if_that_was_granted():
    push = Packet(Signal.PUSH, 17, 9, b"x")
    granted, not_granted = bound(granted=("ack",)), bound()
    for subscription in (granted, not_granted):
        subscription.packets_to_send(0.0)
        subscription.receive_packet(push, 1.0)
    assert granted.packets_to_send(1.0) == [Packet(Signal.PUB_ACK, 17, 9)]
    assert not_granted.packets_to_send(1.0) == []


def test_push_ids_are_taken_off():
    subscription = bound(granted=("ids",))
    delivery = subscription.receive_packet(Packet(Signal.PUSH, 0, 0, b"\x05abc-0payload"), 1.0)
    assert delivery is not None
    assert (delivery.push_id, delivery.payload) == ("abc-0", b"payload")


def test_beats_at_the_interval_that_the_gateway_honours():
    subscription = bound(Options(interval_s=30))
    (ping,) = subscription.packets_to_send(0.0)
    assert ping == answer(Signal.PING, interval=30)
    subscription.receive_packet(answer(Signal.PING, interval=20), 0.1)
    assert subscription.packets_to_send(29.9) == []
    assert len(subscription.packets_to_send(30.0)) == 1
    subscription.receive_packet(answer(Signal.PING, interval=20), 30.1)
    assert subscription.next_deadline() == 60.0 or subscription.next_deadline() == 50.0


def test_a_gateway_that_falls_silent_is_noticed():
    subscription = bound(Options(interval_s=10))
    subscription.packets_to_send(0.0)
    assert subscription.next_deadline() == 9.0
    subscription.packets_to_send(8.9)
    with pytest.raises(ClientError, match="did not answer PING within 10 s") as caught:
        subscription.packets_to_send(9.0)
    assert caught.value.reason == "silent"


def test_anything_received_shows_that_it_lives():
    subscription = bound(Options(interval_s=10))
    subscription.packets_to_send(0.0)
    subscription.receive_packet(Packet(Signal.PUSH, body=b"x"), 5.0)
    assert [packet.signal for packet in subscription.packets_to_send(10.0)] == [Signal.PING]


@pytest.mark.parametrize(
    ("body", "reason", "said"),
    [
        (b'{"reason":"replaced"}', "replaced", "a newer connection has its token"),
        (b'{"reason":"shutdown","retry_after_ms":1500}', "shutdown", "come back in 1500 ms"),
        (b"\x01", "unknown", "unknown"),
    ],
)
def test_disconnect(body: bytes, reason: str, said: str):
    assert disconnected(body).reason == reason
    with pytest.raises(ClientError, match=said):
        bound().receive_packet(Packet(Signal.DISCONNECT, body=body), 1.0)
