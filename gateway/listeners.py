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
#: How long the worker that keeps a predecessor's listeners may take to give them (seconds).
_FETCH_S = 2.0


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


def _answers(path: Path) -> bool:
    """Whether somebody listens at a path: one that was bound anew since, by a worker that is no more, is dead."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asker:
        asker.settimeout(_FETCH_S)
        return asker.connect_ex(str(path)) == 0


def fetch_listeners(settings: Settings, index: int) -> list[socket.socket]:
    """[client port's, nginx socket's] of this worker's predecessor, with whoever waits to be accepted; or [].

    Another worker has kept them (`gateway.kept_listeners`). Those of another address are of earlier settings: they are
    closed, and new ones are to be opened.
    """
    path = places.listener_path(settings, index)
    descriptors: list[int] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asker:
        asker.settimeout(_FETCH_S)
        try:
            asker.connect(str(path))
            _, descriptors, _, _ = socket.recv_fds(asker, 1, 2)
        except OSError:
            pass  # nobody keeps any
    found = [socket.socket(fileno=descriptor) for descriptor in descriptors]
    wanted = (numeric(settings.host), settings.client_port)
    if len(found) == 2 and found[0].getsockname()[:2] == wanted and _answers(places.nginx_path(settings, index)):
        for listener in found:
            listener.setblocking(False)
        return found
    for listener in found:
        listener.close()
    return []
