"""How a client behaves: its settings, checked."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """Settings of a client. `_s` is seconds. Raises ValueError that names the setting."""

    #: Its token; None: the gateway makes one at the first SUB, which is kept for the client's life.
    token: str | None = None
    #: The user whose device this is; counts only where the gateway believes it (`open_subscribe`).
    uid: str | None = None
    #: How often it says PING; more often if the gateway answers a shorter interval.
    interval_s: float = 30.0
    #: Silence after a PING that ends the connection.
    answer_timeout_s: float = 10.0
    #: Longest time until the connection is bound; also for a credential to be fetched.
    connect_timeout_s: float = 10.0
    #: Longest wait of a request, the time in the queue included.
    request_timeout_s: float = 10.0
    #: Requests that wait, and requests that await their answers; over the first: QueueFullError.
    queue_max: int = 100
    calls_max: int = 32
    #: Pushes that wait for the handler; over it the gateway's bytes are not read.
    inbox_max: int = 1000
    #: Push ids that are remembered.
    recent_max: int = 1024
    #: Pause before attempt n: between 0 and the lesser of backoff_s * 2**n and backoff_max_s, by chance.
    backoff_s: float = 0.5
    backoff_max_s: float = 30.0
    #: A connection that was bound this long begins the pauses anew.
    stable_s: float = 5.0
    #: So long before its end a new credential is fetched, but not in the first half of its life.
    renew_margin_s: float = 30.0
    #: Longest body of a request and of a push.
    body_limit_bytes: int = 1 << 20
    push_limit_bytes: int = 16 << 20

    def __post_init__(self) -> None:
        for name in ("queue_max", "calls_max", "inbox_max", "recent_max", "body_limit_bytes", "push_limit_bytes"):
            self._check(name, 1)
        for name in ("interval_s", "answer_timeout_s", "connect_timeout_s", "request_timeout_s", "backoff_max_s"):
            self._check(name, 0.001)
        for name in ("backoff_s", "stable_s", "renew_margin_s"):
            self._check(name, 0)

    def _check(self, name: str, least: float) -> None:
        value = getattr(self, name)
        if not value >= least:
            raise ValueError(f"{name}: {value} is less than {least}")
