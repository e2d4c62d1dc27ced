"""What the core gives its shell to do: messages in the order to send them, processes to kill, and lines to log."""

from typing import NamedTuple

from router.connections import Connection
from router.journeys import Arrival

#: (worker's identity, frames)
ToWorker = tuple[bytes, list[bytes]]
#: (sender's identity, frames)
ToSender = tuple[bytes, list[bytes]]
#: (service's identity, frames)
ToService = tuple[bytes, list[bytes]]


class Kill(NamedTuple):
    """A silent worker of this host. Only the process that started at that time is meant (/proc/PID/stat, 22)."""

    worker: str
    pid: int
    started: int  # clock ticks after the machine's boot


class Outbox:
    """Messages, kills and notices gathered in one turn. The shell takes them and leaves the lists empty."""

    __slots__ = ("arrivals", "kills", "notices", "to_senders", "to_services", "to_workers")

    def __init__(self) -> None:
        self.to_workers: list[ToWorker] = []
        self.to_senders: list[ToSender] = []
        self.to_services: list[ToService] = []
        self.kills: list[Kill] = []
        self.notices: list[str] = []
        self.arrivals: list[Arrival] = []

    def take_to_workers(self) -> list[ToWorker]:
        """Everything for workers; the order matters, RING1 is a fence."""
        taken, self.to_workers = self.to_workers, []
        return taken

    def take_to_senders(self) -> list[ToSender]:
        """Everything for senders."""
        taken, self.to_senders = self.to_senders, []
        return taken

    def take_to_services(self) -> list[ToService]:
        """Everything for services, and for senders at their endpoint."""
        taken, self.to_services = self.to_services, []
        return taken

    def take_kills(self) -> list[Kill]:
        """Processes that must not serve clients any more."""
        taken, self.kills = self.kills, []
        return taken

    def take_notices(self) -> list[str]:
        """Lines for the log, one event each."""
        taken, self.notices = self.notices, []
        return taken

    def take_arrivals(self) -> list[Arrival]:
        """Requests with an origin that have been answered."""
        taken, self.arrivals = self.arrivals, []
        return taken

    def answer(self, connection: Connection, frames: list[bytes]) -> bool:
        """Give a sender its answer; False if it is known to be gone."""
        if connection.closed:
            return False
        (self.to_services if connection.is_service else self.to_senders).append((connection.identity, frames))
        return True
