"""One machine: the names that its processes share."""

from simulator.files import LockFile
from simulator.tcp import ListenerFile
from simulator.unix_sockets import UnixListener


class Host:
    """Paths of Unix sockets, locked files, listening sockets of the client port, processes by pid."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.sockets: dict[str, UnixListener] = {}
        self.locks: dict[str, LockFile] = {}
        self.listeners: list[ListenerFile] = []
