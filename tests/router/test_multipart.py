"""Frames in and out of sockets."""

from collections.abc import Iterator

import pytest
import zmq

from router.multipart import Receiver, Socket, send


@pytest.fixture
def pair() -> Iterator[tuple[Socket, Socket]]:
    """A ROUTER and a DEALER `d` that has said hello to it."""
    context: zmq.Context[Socket] = zmq.Context()
    router, dealer = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
    router.router_mandatory = True
    router.bind("inproc://here")
    dealer.identity = b"d"
    dealer.sndhwm = dealer.rcvhwm = 0
    dealer.connect("inproc://here")
    yield router, dealer
    context.destroy(linger=0)


@pytest.mark.parametrize("frames", [[b""], [b"a"], [b"a", b"", b"c" * 100_000]])
def test_there_and_back(pair: tuple[Socket, Socket], frames: list[bytes]) -> None:
    router, dealer = pair
    dealer.send_multipart(frames)
    received = Receiver(router, 100).receive()
    assert received is not None
    assert received[0] == [b"d", *frames]
    send(router, b"d", frames)
    assert dealer.recv_multipart() == frames


def test_nothing_there(pair: tuple[Socket, Socket]) -> None:
    with pytest.raises(zmq.Again):
        Receiver(pair[0], 100).receive()


def test_nobody_there(pair: tuple[Socket, Socket]) -> None:
    with pytest.raises(zmq.ZMQError) as caught:
        send(pair[0], b"x", [b"a", b"b"])
    assert caught.value.errno == zmq.EHOSTUNREACH
    pair[1].send(b"")
    send(pair[0], b"d", [b"whole"])
    assert pair[1].recv_multipart() == [b"whole"]


@pytest.mark.parametrize("count", [3, 4, 5, 10_003, 25_000])
def test_overlong_messages_are_cut_and_passed_over(pair: tuple[Socket, Socket], count: int) -> None:
    router, dealer = pair
    dealer.send_multipart([b"%d" % number for number in range(count)])
    dealer.send_multipart([b"next"])
    receiver = Receiver(router, 4)
    first = receiver.receive()
    assert first is not None
    assert first[0] == [b"d", b"0", b"1", b"2"]
    pauses = 0
    while (following := receiver.receive()) is None:
        pauses += 1
    assert following[0] == [b"d", b"next"]
    assert pauses == max(0, count - 4) // 10_000
