"""How a service behaves towards its routers: its settings, checked."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """`_s` is seconds. Raises ValueError that names the setting."""

    #: Most calls at once from each router; the rest waits there.
    window: int = 256
    #: Longest silence after SERVE1, and until SERVING1 says another.
    timeout_s: float = 5.0
    heartbeat_s: float = 1.0
    #: Pause before a router that was lost is tried again; doubles up to `backoff_max_s`.
    backoff_s: float = 0.05
    backoff_max_s: float = 1.0
    #: Answers over this, or what the router takes: F3 instead, and a line in the log.
    body_max_bytes: int = 15 << 20
    #: Unanswered calls of its own; over it QUEUE_FULL.
    asks_max: int = 10_000
    #: How much longer than its time-out it waits for the router's word on such a call.
    ask_grace_s: float = 1.0

    def __post_init__(self) -> None:
        for name in ("window", "asks_max", "body_max_bytes"):
            self._check(name, 1)
        for name in ("timeout_s", "heartbeat_s", "backoff_s", "backoff_max_s", "ask_grace_s"):
            self._check(name, 0.001)

    def _check(self, name: str, least: float) -> None:
        value = getattr(self, name)
        if not value >= least:
            raise ValueError(f"{name}: {value} is less than {least}")

    def backoff(self, failures: int) -> float:
        """Seconds to wait after 1, 2, ... failures in a row."""
        return float(min(self.backoff_max_s, self.backoff_s * 2 ** min(failures - 1, 30)))
