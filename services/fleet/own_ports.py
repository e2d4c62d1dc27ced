"""Whether processes of this fleet listen on its ports. An answer on a port alone may be another fleet's."""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from shared.settings import Settings

_LISTENING = "0A"
_TABLES = ("tcp", "tcp6")


def not_listening(settings: Settings, pids: Iterable[int]) -> list[str]:
    """The ports on which none of the processes `pids` listens, one line each."""
    ports = {"client_port": settings.client_port, "api_port": settings.api_port}
    ports |= {f"router-{router}": settings.sender_port + router for router in range(settings.routers)}
    heard = ports_of(pids)
    return [
        f"{name}: no process of this fleet listens on port {port}" for name, port in ports.items() if port not in heard
    ]


def ports_of(pids: Iterable[int]) -> set[int]:
    """TCP ports on which one of the processes listens, of those that this user may look into."""
    sockets = listeners()
    return {sockets[name] for pid in pids for name in _open_sockets(pid) if name in sockets}


def listeners() -> dict[str, int]:
    """Ports of all TCP sockets that listen, by the name that their descriptors have (`socket:[12345]`)."""
    found = {}
    for table in _TABLES:
        with contextlib.suppress(OSError):  # a kernel without IPv6
            for row in Path(f"/proc/self/net/{table}").read_text().splitlines()[1:]:
                _, local, _, state, *_, inode = row.split()[:10]
                if state == _LISTENING:
                    found[f"socket:[{inode}]"] = int(local.rpartition(":")[2], 16)
    return found


def _open_sockets(pid: int) -> list[str]:
    names = []
    with contextlib.suppress(OSError):  # it has ended
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                names.append(os.readlink(entry.path))
    return names
