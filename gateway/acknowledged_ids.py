"""Which pushes a token's last connection acknowledged in its last seconds: copies of them do not reach the next one.

Pure. `recent` is that of a record: push id to (outcome, tick).
"""

from shared.outcomes import Outcome

#: Tokens that are remembered; the oldest are forgotten.
_TOKENS_MAX = 10_000

Recent = dict[bytes, tuple[int, int]]


class AcknowledgedIds:
    """By token, until it is bound again, or `ticks` have passed."""

    def __init__(self, ticks: int) -> None:
        self._ticks = ticks
        self._by_token: dict[bytes, Recent] = {}

    def keep(self, token: bytes, recent: Recent) -> None:
        """A connection has ended."""
        acknowledged = {key: value for key, value in recent.items() if value[0] == Outcome.ACKED}
        self._by_token.pop(token, None)
        if acknowledged:
            self._by_token[token] = acknowledged
            if len(self._by_token) > _TOKENS_MAX:
                del self._by_token[next(iter(self._by_token))]

    def take(self, token: bytes, tick: int) -> Recent | None:
        """A connection is bound: what it is to know."""
        kept = self._by_token.pop(token, None)
        return {key: value for key, value in (kept or {}).items() if tick - value[1] < self._ticks} or None

    def forget(self, tick: int) -> None:
        """Let go of the first, as long as all of it is too old."""
        while self._by_token:
            token, recent = next(iter(self._by_token.items()))
            if any(tick - when < self._ticks for _, when in recent.values()):
                return
            del self._by_token[token]
