"""What the core gives its shell to do: messages in the order to send them, and lines to log."""

from router.connections import Connection

#: (worker's identity, frames)
ToWorker = tuple[bytes, list[bytes]]
#: (sender's identity, frames)
ToSender = tuple[bytes, list[bytes]]


class Outbox:
    """Messages and notices gathered in one turn. The shell takes them and leaves the lists empty."""

    __slots__ = ("notices", "to_senders", "to_workers")

    def __init__(self) -> None:
        self.to_workers: list[ToWorker] = []
        self.to_senders: list[ToSender] = []
        self.notices: list[str] = []

    def take_to_workers(self) -> list[ToWorker]:
        """Everything for workers; the order matters, RING1 is a fence."""
        taken, self.to_workers = self.to_workers, []
        return taken

    def take_to_senders(self) -> list[ToSender]:
        """Everything for senders."""
        taken, self.to_senders = self.to_senders, []
        return taken

    def take_notices(self) -> list[str]:
        """Lines for the log, one event each."""
        taken, self.notices = self.notices, []
        return taken

    def answer(self, connection: Connection, frames: list[bytes]) -> bool:
        """Give a sender its answer; False if it is known to be gone."""
        if connection.closed:
            return False
        self.to_senders.append((connection.identity, frames))
        return True
