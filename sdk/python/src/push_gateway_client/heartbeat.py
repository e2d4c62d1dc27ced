"""When to say PING, and when silence means that the connection is dead. Pure; times are monotonic seconds."""

from __future__ import annotations

_NEVER = float("inf")


class Heartbeat:
    """Of one connection. Call `due` when `next_deadline` has come."""

    def __init__(self, interval_s: float, answer_timeout_s: float) -> None:
        self.interval_s = interval_s
        self._longest, self._answer_timeout = interval_s, answer_timeout_s
        self._ping_at = self._answer_by = _NEVER

    def start(self, now: float) -> None:
        """The first PING is due at once: it tells the gateway the interval."""
        self._ping_at = now

    def heard(self) -> None:
        """Bytes have arrived: it lives."""
        self._answer_by = _NEVER

    def answered(self, interval_s: float) -> None:
        """The gateway said which interval it honours: never wait longer than that."""
        if interval_s > 0:
            self._ping_at -= self.interval_s
            self.interval_s = min(self._longest, interval_s)
            self._ping_at += self.interval_s

    def due(self, now: float) -> bool:
        """Whether to say PING now."""
        if now < self._ping_at:
            return False
        self._ping_at = now + self.interval_s
        self._answer_by = min(self._answer_by, now + self._answer_timeout)
        return True

    def dead(self, now: float) -> bool:
        """Whether the gateway has been silent for too long.

        Whoever asks long after the deadline was asleep (a laptop's lid, a stopped process), and what came meanwhile
        may lie unread: then it is asked once more.
        """
        if now < self._answer_by:
            return False
        if now < self._answer_by + self._answer_timeout:
            return True
        self._answer_by, self._ping_at = _NEVER, now
        return False

    def excuse(self, now: float) -> None:
        """Nothing is read now, so silence proves nothing."""
        if self._answer_by != _NEVER:
            self._answer_by = now + self._answer_timeout

    def next_deadline(self) -> float:
        return min(self._ping_at, self._answer_by)
