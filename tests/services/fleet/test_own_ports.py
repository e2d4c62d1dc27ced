"""services/fleet/own_ports.py with sockets of this process."""

import os
import socket
import subprocess
import sys

from services.fleet.own_ports import not_listening, ports_of
from shared.settings import Settings

LISTEN = """import socket
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
input()"""


def test_ports_of_a_process() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as four,
        socket.create_server(("::1", 0), family=socket.AF_INET6) as six,
        socket.create_connection(four.getsockname()) as client,
    ):
        found = ports_of([os.getpid()])
        assert {four.getsockname()[1], six.getsockname()[1]} <= found
        assert client.getsockname()[1] not in found


def test_a_port_on_which_another_process_listens_is_not_ours() -> None:
    with (
        subprocess.Popen([sys.executable, "-c", LISTEN], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other,
        socket.create_server(("127.0.0.1", 0)) as client,
        socket.create_server(("127.0.0.1", 0)) as sender,
    ):
        assert other.stdin
        assert other.stdout
        theirs = int(other.stdout.readline())
        ours = [one.getsockname()[1] for one in (client, sender)]
        settings = Settings(client_port=ours[0], sender_port=ours[1], api_port=theirs)
        said = [f"api_port: no process of this fleet listens on port {theirs}"]
        assert not_listening(settings, [os.getpid()]) == said
        assert not_listening(settings, [os.getpid(), other.pid]) == []
        other.stdin.close()


def test_a_process_that_has_ended_listens_nowhere() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert ports_of([ended.pid]) == set()
