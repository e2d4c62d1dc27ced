"""Pushes for clients that are on their way to this worker.

Pure. Kept in order, bounded, until it is known what becomes of them.
"""

from typing import NamedTuple

from shared.bus import Segment, Terms
from shared.origins import Origin


class HeldPush(NamedTuple):
    """One push of a batch, with what it takes to deliver and answer it later."""

    router: int  # that sent the batch, and is told
    batch: int
    place: int  # in the batch
    segment: Segment
    position: int  # in the sender's request
    payload: bytes
    terms: Terms | None = None  # what its sender wants beyond sending
    origin: Origin | None = None


class HeldPushes:
    """By token, in order of arrival. Over a bound nothing is taken: the push is UNAVAILABLE."""

    def __init__(self, most: int, most_bytes: int) -> None:
        self._most, self._most_bytes = most, most_bytes
        self._by_token: dict[bytes, list[HeldPush]] = {}
        self.count = 0
        self.bytes = 0

    def hold(self, token: bytes, push: HeldPush) -> bool:
        """Keep a push; False if a bound is hit."""
        if self.count >= self._most or self.bytes + len(push.payload) > self._most_bytes:
            return False
        self._by_token.setdefault(token, []).append(push)
        self.count += 1
        self.bytes += len(push.payload)
        return True

    def take(self, token: bytes, most: int | None = None) -> list[HeldPush]:
        """The pushes of a token whose client has come, in order; the first `most` of them."""
        pushes = self._by_token.pop(token, [])
        if most is not None and len(pushes) > most:
            self._by_token[token] = pushes[most:]
            pushes = pushes[:most]
        self.count -= len(pushes)
        self.bytes -= sum(len(push.payload) for push in pushes)
        return pushes

    def has(self, token: bytes) -> bool:
        """Whether any are held for a token."""
        return token in self._by_token

    def count_of(self, token: bytes) -> int:
        """How many are held for a token."""
        return len(self._by_token.get(token, ()))

    def tokens(self) -> list[bytes]:
        """Tokens whose pushes are held."""
        return list(self._by_token)

    def take_all(self) -> list[tuple[bytes, HeldPush]]:
        """Everything: nobody else will come."""
        pushes = [(token, push) for token, held in self._by_token.items() for push in held]
        self._by_token.clear()
        self.count = self.bytes = 0
        return pushes
