"""Cached messages: what both engines keep to. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from shared.cached_messages import Operation, Result

#: What a message counts beside its payload: keys, names, and the database's own.
OVERHEAD_BYTES = 128
#: How long a key is known after its message has gone, in ms, and of how many in all.
RECENT_MS = 600_000
RECENT_MAX = 1 << 20
#: A token without messages is forgotten after this; numbers go on, for all tokens, from the greatest forgotten.
IDLE_MS = 30 * 86_400_000
#: Numbers of messages follow the clock by so many for a ms, up to an end: past it (in 2109) only the last one counts.
_NUMBERS_PER_MS = 1 << 10
_CLOCK_NUMBERS_END = 1 << 52


def number_at(now_ms: int) -> int:
    """The least number of a message that is stored now; it has that, or the one behind its token's last, if greater.

    So a store that comes back empty, or without its last writes, gives none again that a message had which it has lost:
    acknowledgements of that one take out no other, and whoever reads on behind it misses nothing.
    """
    return min(now_ms * _NUMBERS_PER_MS, _CLOCK_NUMBERS_END)


class Bounds(NamedTuple):
    """Settings cached_..., in messages and bytes (with OVERHEAD_BYTES for each)."""

    messages: int = 1000  # of a token
    bytes: int = 4 << 20  # of a token
    total_bytes: int = 1 << 30
    drops_oldest: bool = True  # over the bounds of a token; else the newest is refused


class Totals(NamedTuple):
    """What is kept in all."""

    messages: int
    bytes: int


class Swept(NamedTuple):
    """What a step of the sweep did. `more`: there may be others to remove at once."""

    expired: int
    more: bool


class Expiring(NamedTuple):
    """A message whose time is over. `request_id`: empty if it has none."""

    token: bytes
    key: bytes
    request_id: str = ""


class MessageStore(Protocol):
    """An engine. Calls wait for the disk or the network; one at a time."""

    def apply(self, operations: Sequence[Operation], now_ms: int) -> list[Result]:
        """Does them in order, as one transaction where the engine has them; returns when they are safe.

        `now_ms`: Unix ms. Never raises for what the engine does: then results are Failed.
        """
        ...

    def sweep(self, now_ms: int, most: int) -> Swept:
        """Removes up to `most` expired messages, and forgets as many old keys and tokens. Raises StorageError."""
        ...

    def expiring(self, now_ms: int, most: int) -> list[Expiring]:
        """Those that `sweep` with the same arguments would remove. Raises StorageError."""
        ...

    def totals(self) -> Totals:
        """Raises StorageError."""
        ...

    def close(self) -> None:
        """The end."""
        ...


class Holding(NamedTuple):
    """A message of a token, as far as it matters who is to go."""

    sender: str
    bytes: int


def victim(held: dict[int, Holding], newcomer: str, by_bytes: bool) -> int:
    """The number of the message that goes: the oldest of whoever has the most.

    `held`: not empty, by number, in order. If the newcomer's sender is among those that have the most, it is of that
    one; else of the one whose oldest is the oldest.
    """
    has: Counter[str] = Counter()
    for holding in held.values():
        has[holding.sender] += holding.bytes if by_bytes else 1
    most = max(has.values())
    goes = [newcomer] if has[newcomer] == most else [sender for sender, number in has.items() if number == most]
    return first_of(held.items(), set(goes))


def first_of(held: Iterable[tuple[int, Holding]], senders: set[str]) -> int:
    """The first number of any of these."""
    return next(seq for seq, holding in held if holding.sender in senders)
