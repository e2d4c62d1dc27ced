"""Tokens that nobody else has: 32 hex digits that sort by time.

| bytes | |
|---|---|
| 6 | Unix ms, big-endian; never less than in the token before, whatever the clock does |
| 2 | number among those of that ms |
| 3 | the instance's own, drawn at its start |
| 5 | drawn for each token, so that it cannot be guessed |

One instance never makes a token twice: the first eight bytes grow. Two instances do if all the rest is equal too.
"""

from collections.abc import Callable

INSTANCE_BYTES, RANDOM_BYTES = 3, 5
_NUMBERS = 1 << 16


class TokenMaker:
    """Makes them. `random_bytes(n)` gives n bytes. One thread at a time."""

    def __init__(self, random_bytes: Callable[[int], bytes]) -> None:
        self._random_bytes = random_bytes
        self._instance = random_bytes(INSTANCE_BYTES)
        self._last = 0  # ms and number, as one integer

    def make(self, unix_ms: int) -> str:
        """The next one. Where the clock went back, or more than 65,536 are made in a ms, its time runs ahead."""
        self._last = max(unix_ms * _NUMBERS, self._last + 1)
        return (self._last.to_bytes(8) + self._instance + self._random_bytes(RANDOM_BYTES)).hex()


def made_at(token: str) -> int:
    """Unix ms in a token of this form. Raises ValueError."""
    return int(token[:12], 16)
