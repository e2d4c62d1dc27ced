import json
import socket
import subprocess
import sys
from ipaddress import ip_network
from pathlib import Path

import pytest

from gateway.acceptors import Acceptor
from tests.gateway.parts import turns, until
from tests.gateway.scarce_descriptors import FREE


@pytest.fixture
def door(worker):
    """(Parts, Acceptor, address) of a worker that accepts, over TCP or (`unix`) on an nginx socket."""
    opened = []

    def make(unix=False, proxies=(), hello=10, **changes):
        parts = worker(**changes)
        acceptor = Acceptor(parts.loop, hello, [ip_network(network) for network in proxies])
        if unix:
            address = f"{parts.directory.name}/nginx.sock"
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(address)
            listener.listen(200)
        else:
            listener = socket.create_server(("127.0.0.1", 0), backlog=200)
            address = listener.getsockname()
        listener.setblocking(False)
        opened.append((acceptor, listener))
        acceptor.listen(listener, proxied=unix)
        return parts, acceptor, address

    yield make
    for acceptor, listener in opened:
        acceptor.stop()
        listener.close()


def held(parts):
    return [connection for connection in parts.loop.table.by_fd if connection]


def test_clients_are_accepted_and_served(door):
    parts, _, address = door()
    ends = [parts.call_in(address) for _ in range(150)]
    until(lambda: parts.loop.table.count == 150)
    assert {end.ask(3)["interval"] for end in ends} == {400}
    names = {":".join(map(str, end.socket.getsockname())) for end in ends}
    assert {connection.address for connection in held(parts)} == names
    assert parts.counters["accepted"] == 150


def test_one_that_says_nothing_is_closed_at_the_hello_deadline(door):
    parts, _, address = door(hello=3)
    end = parts.call_in(address)
    until(lambda: held(parts))
    parts.advance(3)
    turns()
    assert not end.ended
    assert held(parts)[0].state == 0
    parts.advance()
    assert end.rest() == b""
    assert parts.counters["close_hello_timeout"] == 1


def test_a_hello_deadline_is_never_shorter_than_said(door):
    """A tick may be over the moment after a connection was accepted."""
    parts, _, address = door(hello=1)
    end = parts.call_in(address)
    until(lambda: held(parts))
    parts.advance()
    turns()
    assert not end.ended
    assert end.ask(3) == {"interval": 400}


def test_the_nginx_socket_requires_a_proxy_header(door):
    parts, _, address = door(unix=True)
    without, with_one = parts.call_in(address), parts.call_in(address)
    without.say(3)
    assert without.rest() == b""
    assert parts.counters["close_bad_protocol"] == 1
    with_one.send(b"PROXY TCP4 9.8.7.6 1.1.1.1 555 80\r\n")
    assert with_one.ask(3) == {"interval": 400}
    assert held(parts)[-1].address == "9.8.7.6:555"


@pytest.mark.parametrize(("proxies", "believed"), [(["127.0.0.0/8"], True), (["10.0.0.0/8"], False), ([], False)])
def test_a_proxy_header_is_believed_from_trusted_addresses(door, proxies, believed):
    parts, _, address = door(proxies=proxies)
    end = parts.call_in(address)
    end.send(b"PROXY TCP4 9.8.7.6 1.1.1.1 555 80\r\n")
    end.say(3)
    if believed:
        end.packet()
        assert held(parts)[0].address == "9.8.7.6:555"
    else:
        assert end.rest() == b""
        assert parts.counters["close_bad_protocol"] == 1


def test_a_trusted_address_need_not_send_one(door):
    parts, _, address = door(proxies=["127.0.0.1/32"])
    assert parts.call_in(address).ask(3) == {"interval": 400}


def test_after_stop_none_is_accepted_and_who_is_there_is_served(door):
    parts, acceptor, address = door()
    end = parts.call_in(address)
    until(lambda: held(parts))
    acceptor.stop()
    late = parts.call_in(address)
    turns()
    parts.advance()
    turns()
    assert parts.loop.table.count == 1
    assert end.ask(3) == {"interval": 400}
    assert late.quiet()


def test_a_sweep_takes_who_waits_now(door):
    parts, acceptor, address = door()
    end = parts.call_in(address)  # the hub has had no turn yet
    acceptor.sweep()
    assert parts.loop.table.count == 1
    assert end.ask(3) == {"interval": 400}


def test_a_peer_that_left_before_it_was_accepted(door):
    parts, _, address = door()
    parts.call_in(address).close()
    end = parts.call_in(address)
    assert end.ask(3) == {"interval": 400}
    until(lambda: parts.loop.table.count == 1)


def test_every_descriptor_used_up():
    program = [sys.executable, "-m", "tests.gateway.scarce_descriptors"]
    root = Path(__file__).parent.parent.parent
    done = subprocess.run(program, cwd=root, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert 1 <= seen["held"] <= FREE
    assert seen["served"] == {"interval": 400}
    assert seen["busy"] < 0.5  # no spinning on what cannot be accepted
    assert 2 <= seen["pauses"] <= 7  # once a tick
    assert seen["accepted"] == seen["held"] + 8  # four clients left, and both their ends were in that process
    assert seen["internal_errors"] == 0
    assert seen["warnings"] == ["accepting pauses: too many open files"] * 2  # one a minute
