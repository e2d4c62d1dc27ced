"""Pushes that wait to be sent, and the order per token."""

from collections import deque

from services.sender.tickets import Push


class PushQueue:
    """First in, first out; with `ordered`, a push whose token has an unanswered one under way waits for that.

    A push leaves by `take`; its token then stays busy until `release`.
    """

    def __init__(self, ordered: bool) -> None:
        self._ordered = ordered
        self._waiting: deque[Push] = deque()
        # Next of a busy token, free to go; their tokens stay busy.
        self._released: deque[Push] = deque()
        # Busy tokens, each with the pushes that wait for it.
        self._behind: dict[bytes, deque[Push] | None] = {}

    def __bool__(self) -> bool:
        """Whether `take` may find something."""
        return bool(self._waiting or self._released)

    def put(self, push: Push) -> None:
        """Adds a push at the end."""
        self._waiting.append(push)

    def take(self, most: int, most_bytes: int) -> list[Push]:
        """The next pushes that can share one request: same options, tokens all different when ordered.

        A push larger than `most_bytes` comes alone. Flat because every push passes here: 0.4 us each.
        """
        batch: list[Push] = []
        size, ordered, behind, waiting, released = 0, self._ordered, self._behind, self._waiting, self._released
        while len(batch) < most and (released or waiting):
            line = released or waiting
            push = line[0]
            options = push.options
            if batch:
                size += len(push.target) + len(push.payload)
                if options is not batch[0].options or size > most_bytes:
                    break
            else:
                size = len(push.target) + len(push.payload)
            line.popleft()
            if options.to_many:
                return [push]
            if ordered and line is waiting:
                if push.target in behind:
                    size -= len(push.target) + len(push.payload)
                    _follow(behind, push)
                    continue
                behind[push.target] = None
            batch.append(push)
        return batch

    def release(self, push: Push) -> None:
        """The push is answered: the next one for its token may go."""
        if not self._ordered or push.options.to_many or push.options.key is not None:
            return
        followers = self._behind.get(push.target)
        if followers:
            self._released.append(followers.popleft())
        else:
            self._behind.pop(push.target, None)

    def take_expired(self, now: float) -> list[Push]:
        """Pushes past their deadline, taken out. Deadlines grow along each line, so a look at its head says enough."""
        expired: list[Push] = []
        _move_expired(self._waiting, now, expired)
        while self._released and self._released[0].deadline <= now:
            push = self._released.popleft()
            expired.append(push)
            self.release(push)
        for followers in self._behind.values():
            if followers:
                _move_expired(followers, now, expired)
        return expired

    def take_all(self) -> list[Push]:
        """Everything that waits, when the sender ends."""
        return self.take_expired(float("inf"))


def _follow(behind: dict[bytes, deque[Push] | None], push: Push) -> None:
    followers = behind[push.target]
    if followers is None:
        behind[push.target] = deque((push,))
    else:
        followers.append(push)


def _move_expired(line: deque[Push], now: float, expired: list[Push]) -> None:
    while line and line[0].deadline <= now:
        expired.append(line.popleft())
