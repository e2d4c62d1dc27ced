"""How a Sender behaves: its settings, checked."""

from collections.abc import Collection
from dataclasses import dataclass

from shared.outcomes import RETRYABLE, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Settings of a Sender. `_s` is seconds, `_bytes` bytes. Raises ValueError that names the setting."""

    #: Requests in flight: sent and not answered.
    window: int = 64
    #: Most pushes and bytes that go into one request.
    batch_pushes: int = 50
    batch_bytes: int = 1 << 20
    #: Most unanswered pushes, and their bytes; `push` and `push_many` wait for room, `push_nowait` raises `queue_full`.
    queue_pushes: int = 10_000
    queue_bytes: int = 64 << 20
    #: How often a request is repeated for the outcomes in `retry_outcomes`; 0: never.
    retries: int = 5
    retry_outcomes: Collection[Outcome] = (Outcome.UNAVAILABLE, Outcome.UNKNOWN)
    #: Pause before the first repeat; doubles up to `backoff_max_s`. Also between attempts to connect.
    backoff_s: float = 0.1
    backoff_max_s: float = 2.0
    #: After this a push is no longer tried: UNAVAILABLE if certainly not delivered, else UNKNOWN.
    give_up_s: float = 60.0
    #: Silence of a router: to HELLO1; and to a request, on top of the request's `timeout_ms`.
    hello_timeout_s: float = 2.0
    answer_grace_s: float = 5.0
    #: Keep the order per token also when pushes are repeated, by having one unanswered push per token under way.
    #: False: pushes to one token follow each other without waiting; one that is repeated may be overtaken.
    ordered: bool = True

    def __post_init__(self) -> None:
        for name in ("window", "batch_pushes", "batch_bytes", "queue_pushes", "queue_bytes"):
            self._check(name, 1)
        for name in ("backoff_s", "backoff_max_s", "give_up_s", "hello_timeout_s"):
            self._check(name, 0.001)
        for name in ("retries", "answer_grace_s"):
            self._check(name, 0)
        if not RETRYABLE.issuperset(self.retry_outcomes):
            raise ValueError("retry_outcomes: only OVERLOADED, UNAVAILABLE and UNKNOWN can be repeated")

    def _check(self, name: str, least: float) -> None:
        value = getattr(self, name)
        if not value >= least:
            raise ValueError(f"{name}: {value} is less than {least}")

    def backoff(self, attempt: int) -> float:
        """Seconds to wait before attempt 1, 2, ... after the first."""
        return float(min(self.backoff_max_s, self.backoff_s * 2 ** min(attempt - 1, 30)))
