"""What the router remembers of senders' connections."""

from router.connections import Connections


def test_the_longest_silent_is_forgotten() -> None:
    connections = Connections(most=3)
    first = connections.get(b"1")
    connections.get(b"2")
    connections.get(b"3")
    assert connections.get(b"1") is first
    connections.get(b"4")
    assert len(connections) == 3
    assert connections.get(b"1") is first
    assert not first.closed
    assert connections.get(b"2").name is None


def test_a_sender_that_is_gone_gets_nothing() -> None:
    connections = Connections()
    gone = connections.get(b"1")
    connections.forget(b"1")
    connections.forget(b"unknown")
    assert gone.closed
    assert connections.get(b"1") is not gone


def test_a_reopened_endpoint_knows_nobody() -> None:
    connections = Connections()
    before = [connections.get(b"%d" % number) for number in range(3)]
    connections.forget_all()
    assert len(connections) == 0
    assert all(connection.closed for connection in before)
