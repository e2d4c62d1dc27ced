"""What deliveries tell of one push, and what they need of the part that keeps pushes (`gateway.kept_pushes`).

Pure.
"""

from typing import NamedTuple, Protocol

from gateway.connections import Connection
from gateway.held_pushes import HeldPush
from shared.outcomes import Outcome


class Placed(NamedTuple):
    """What became of a push to one connection. `size`: bytes on the wire. `copy`: it was delivered here before."""

    outcome: int
    message_id: int = 0
    size: int = 0
    copy: bool = False


#: Of pushes that were not sent.
TOO_LARGE, REFUSED, OVERLOADED = Placed(Outcome.TOO_LARGE), Placed(Outcome.REFUSED), Placed(Outcome.OVERLOADED)


class Keeping(Protocol):
    """Pushes that are to be more than sent, and clients that are not live."""

    def deliver(self, connection: Connection, push: HeldPush) -> int:
        """The outcome of a push to a client that is here, HELD or KEPT."""

    def absent(self, token: bytes, push: HeldPush) -> int:
        """The same where a client is nowhere."""

    def bound(self, connection: Connection) -> None:
        """A connection has just been bound to its token."""

    def arrived(self, connection: Connection) -> None:
        """A client that was bound before is here (again)."""

    def ended(self, connection: Connection) -> None:
        """A client has ended, or loses its token."""

    def given(self, connection: Connection) -> None:
        """A client is with another worker."""

    def owes_others(self) -> bool:
        """Whether pushes to tokens of other workers are still being stored."""

    @property
    def busy(self) -> bool:
        """Whether any are."""
