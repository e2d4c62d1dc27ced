"""gateway/listeners.py over real sockets."""

import os
import socket
import stat
from pathlib import Path

import pytest

from gateway.listeners import open_client_listener, open_nginx_listener
from gateway.run_files import make_directories
from shared import places
from shared.errors import SettingsError
from shared.settings import Settings
from tests.fleet.ports import free_ports


def test_workers_of_a_fleet_listen_side_by_side() -> None:
    settings = Settings(client_port=free_ports(1)[0])
    with open_client_listener(settings) as one, open_client_listener(settings) as other:
        assert one.getsockname() == other.getsockname() == ("127.0.0.1", settings.client_port)
        assert not os.get_blocking(one.fileno())


def test_accepted_sockets_have_no_delay() -> None:
    settings = Settings(client_port=free_ports(1)[0])
    with open_client_listener(settings) as listener:
        listener.setblocking(True)
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_ipv6() -> None:
    settings = Settings(host="::1", client_port=free_ports(1, "::1")[0])
    with open_client_listener(settings) as listener:
        assert listener.getsockname()[:2] == ("::1", settings.client_port)


def test_port_of_another_program() -> None:
    with socket.create_server(("127.0.0.1", 0)) as foreign:
        settings = Settings(client_port=foreign.getsockname()[1])
        with pytest.raises(SettingsError, match=r"^client_port: .* is in use by another process$"):
            open_client_listener(settings)


def test_nginx_socket_replaces_a_stale_one(tmp_path: Path) -> None:
    settings = Settings(data_dir=str(tmp_path))
    make_directories(settings)
    path = places.nginx_path(settings, 1)
    open_nginx_listener(settings, 1).close()
    with pytest.raises(ConnectionRefusedError), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    with open_nginx_listener(settings, 1) as listener, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        assert not os.get_blocking(listener.fileno())
        assert stat.S_IMODE(path.stat().st_mode) == 0o660


def test_nginx_directory_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^data_dir: .*no such file or directory$"):
        open_nginx_listener(Settings(data_dir=str(tmp_path)), 0)
