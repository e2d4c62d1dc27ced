"""One connection to a router. What would end the whole process is tried in another one."""

import subprocess
import sys
import time
from pathlib import Path

import zmq

from services.sender.connections import Connection
from tests.fleet.processes import wait_until

MESSAGES = 900


def test_what_had_come_before_the_router_died_is_read_whole():
    """However many messages of several frames there are; run by the test below, ten times."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    router = context.socket(zmq.ROUTER)
    port = router.bind_to_random_port("tcp://127.0.0.1")
    connection = Connection(context, f"tcp://127.0.0.1:{port}", 500, None)
    connection.send([[b"HELLO1", b"x", b""]])
    identity = router.recv_multipart()[0]
    for number in range(MESSAGES):
        router.send_multipart([identity, b"DONE1", b"%d" % number, b"\0", b"", b""])
    time.sleep(0.05)  # they are on the way
    read = connection.receive()
    router.close(linger=0)
    wait_until(lambda: connection.fault() == "the connection ended", "the end is told")
    while more := connection.receive():
        read += more
    assert [int(message[1]) for message in read] == list(range(len(read)))
    assert all(len(message) == 5 for message in read)
    connection.close()
    context.term()


def test_the_death_of_a_router_is_not_that_of_its_senders():
    """A dying connection must not be taken away by libzmq while a message is read frame by frame."""
    name = "test_what_had_come_before_the_router_died_is_read_whole"
    program = f"from tests.services.sender.test_connections import {name} as test\nfor _ in range(10): test()"
    root = Path(__file__).parents[3]
    subprocess.run([sys.executable, "-c", program], cwd=root, check=True, timeout=120)


def test_it_never_connects_again():
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    router = context.socket(zmq.ROUTER)
    port = router.bind_to_random_port("tcp://127.0.0.1")
    connection = Connection(context, f"tcp://127.0.0.1:{port}", 500, None)
    connection.send([[b"HELLO1", b"x", b""]])
    router.recv_multipart()
    router.close(linger=0)
    wait_until(lambda: connection.fault() == "the connection ended", "the end is told")
    again = context.socket(zmq.ROUTER)
    again.bind(f"tcp://127.0.0.1:{port}")
    connection.send([[b"PUSH1", b"1", b"", b"a", b"x"]])
    assert again.poll(1000) == 0
    again.close(linger=0)
    connection.close()
    context.term()
