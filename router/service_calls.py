"""A call on its way to a service, and the line in which it waits."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import ujson

from shared.calls import CALL1, Call, Topic, encode_call
from shared.errors import BusError

if TYPE_CHECKING:
    from collections import OrderedDict

    from router.service_members import Service

#: Told the answer once: (code, body, now).
Done = Callable[[int, bytes, float], None]


class ServiceCall:
    """A call. It waits in `lane` while `service` is None.

    `head`: its JSON, as it came. `body` is dropped when it will not be sent again. `late`: answered, its time was over,
    but the service may be at work on it still.
    """

    __slots__ = (
        "again", "body", "deadline", "done", "head", "lane", "late", "number", "retry", "service", "since", "size",
        "tick",
    )  # fmt: skip

    def __init__(
        self, number: int, lane: Lane, head: bytes, body: bytes, since: float, deadline: float, done: Done
    ) -> None:
        self.number = number
        self.lane = lane
        self.head, self.body, self.size = head, body, len(head) + len(body)
        self.since, self.deadline = since, deadline
        self.done = done
        self.service: Service | None = None
        self.again = True  # whether it may go to another instance should this one die
        self.retry = False  # an instance that died may have done it
        self.late = False
        self.tick = 0

    def frames(self, now: float) -> list[bytes]:
        """CALL1. One that has waited says how much time is left."""
        if now == self.since and not self.retry:
            return [CALL1, self.number.to_bytes(8, "big"), self.head, self.body]
        head = ujson.loads(self.head)
        head["timeout_ms"] = max(1, round((self.deadline - now) * 1000))
        if self.retry:
            head["retry"] = True
        return encode_call(CALL1, self.number, head, self.body)


class Lane:
    """Calls of one topic and key, which go to one instance, in order. A call without key has a lane of its own.

    `service`: the instance that has some of them, or whose turn it awaits in `queue`. `outstanding`: so many it has.
    """

    __slots__ = ("key", "outstanding", "queue", "service", "topic", "waiting")

    def __init__(self, topic: Topic, key: str | None) -> None:
        self.topic, self.key = topic, key
        self.service: Service | None = None
        self.outstanding = 0
        self.waiting: deque[ServiceCall] = deque()
        self.queue: OrderedDict[Lane, None] | None = None


def check_head(call: Call) -> tuple[str | None, int | None]:
    """Key and timeout_ms of an ASK1; None: not said. Raises BusError."""
    key, timeout_ms = call.head.get("key"), call.head.get("timeout_ms")
    if key is not None and not isinstance(key, str):
        raise BusError("call whose key is no text")
    if timeout_ms is not None and (type(timeout_ms) is not int or timeout_ms < 1):
        raise BusError("call whose timeout_ms is no whole number from 1")
    return key, timeout_ms


def number_of_call(frames: Sequence[bytes]) -> int:
    """The number of a CALL1 of ours."""
    return int.from_bytes(frames[1], "big")
