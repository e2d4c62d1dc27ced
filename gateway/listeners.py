"""The two listening sockets of a worker: the client port and its nginx socket."""

import socket
from pathlib import Path

from gateway.port_locks import bind_fault, family_of, numeric
from gateway.run_files import open_to_group
from shared import places
from shared.errors import SettingsError
from shared.settings import Settings

#: Clients that may wait for accept(); the kernel cuts it to net.core.somaxconn.
BACKLOG = 65_535


def open_client_listener(settings: Settings) -> socket.socket:
    """This worker's own listener on the client port, non-blocking. Raises SettingsError (`client_port`, `host`).

    TCP_NODELAY on a listener is passed on to what it accepts (Linux), which saves a system call per client.
    """
    host, port = numeric(settings.host), settings.client_port
    listener = socket.socket(family_of(host), socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise bind_fault(error, host, port) from None
    listener.setblocking(False)
    return listener


def open_nginx_listener(settings: Settings, index: int) -> socket.socket:
    """Worker `index`'s nginx socket (Unix, SOCK_STREAM), non-blocking. Raises SettingsError.

    The caller holds the worker's pid file, so a file that is there already is a dead worker's.
    """
    path: Path = places.nginx_path(settings, index)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        open_to_group(path, settings)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise SettingsError("data_dir", f"{path}: {(error.strerror or str(error)).lower()}") from None
    listener.setblocking(False)
    return listener
