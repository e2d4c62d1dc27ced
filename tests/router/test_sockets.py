"""Binding, and what is said when that does not work."""

import socket
from collections.abc import Iterator

import pytest
import zmq

from router.multipart import Socket
from router.sockets import open_bus, open_senders
from shared.errors import SettingsError
from shared.settings import Settings
from tests.fleet.ports import free_ports


@pytest.fixture
def context() -> Iterator[zmq.Context[Socket]]:
    made: zmq.Context[Socket] = zmq.Context()
    yield made
    made.destroy(linger=0)


def test_an_address_of_another_machine(context: zmq.Context[Socket]) -> None:
    for settings, key in ((Settings(host="192.0.2.1"), "host"), (Settings(sender_host="192.0.2.1"), "sender_host")):
        with pytest.raises(SettingsError, match=f"^{key}: cannot listen on 192.0.2.1:6700: "):
            open_senders(context, "tcp://192.0.2.1:6700", settings, None)


def test_a_port_in_use(context: zmq.Context[Socket]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=f"^sender_port: address 127.0.0.1:{port} is in use$"):
            open_senders(context, f"tcp://127.0.0.1:{port}", Settings(), None)


def test_read_ahead_is_bounded_by_the_memory_setting(context: zmq.Context[Socket]) -> None:
    for memory, frame, messages in ((1 << 30, 1 << 20, 32), (1 << 30, 16 << 20, 16), (1 << 26, 1 << 30, 1)):
        settings = Settings(router_memory_bytes=memory, max_frame_bytes=frame)
        (port,) = free_ports(1)
        opened = open_senders(context, f"tcp://127.0.0.1:{port}", settings, None)
        assert (opened.rcvhwm, opened.maxmsgsize) == (messages, frame)


def test_a_bus_that_cannot_be(context: zmq.Context[Socket]) -> None:
    with pytest.raises(SettingsError, match=r"^data_dir: ipc:///dev/null/bus: "):
        open_bus(context, "ipc:///dev/null/bus")
