"""Instances of services as one router knows them, and what their SERVE1 says."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from shared.bus import decode_control
from shared.calls import Topic
from shared.errors import BusError
from shared.signals import SUB_SIGNAL_MAX, Signal

if TYPE_CHECKING:
    from router.service_calls import Lane, ServiceCall

NAME_MAX_BYTES = 64
TOPICS_MAX = 1_024
#: Figures of a kind that it may tell of itself.
FIGURES_MAX = 64
#: Most calls at once that an instance may ask for, and what it gets if it asks for nothing.
WINDOW_MAX, WINDOW_DEFAULT = 4_096, 256


class Said(NamedTuple):
    """A checked SERVE1. `topics`: whether each may be done twice."""

    name: str
    instance: str
    topics: dict[Topic, bool]
    window: int


class Service:
    """One instance of a service, on one connection.

    `calls`: by number, those that it has, in the order given. `ready`: lanes bound to it that wait for room.
    """

    __slots__ = (
        "calls",
        "figures",
        "identity",
        "instance",
        "last_heard",
        "leaving",
        "name",
        "ready",
        "statistics",
        "topics",
        "window",
    )

    def __init__(self, identity: bytes, said: Said, now: float) -> None:
        self.identity = identity
        self.name, self.instance = said.name, said.instance
        self.topics: dict[Topic, bool] = {}
        self.window = said.window
        self.leaving = False
        self.last_heard = now
        self.statistics: dict[str, int] = {}  # as it said last, of its calls
        self.figures: dict[str, int] = {}  # and of itself
        self.calls: dict[int, ServiceCall] = {}
        self.ready: OrderedDict[Lane, None] = OrderedDict()

    @property
    def full_name(self) -> str:
        """`name/instance`, for people."""
        return f"{self.name}/{self.instance}"

    @property
    def has_room(self) -> bool:
        """Whether it may get another call."""
        return len(self.calls) < self.window

    @property
    def queued(self) -> int:
        """Calls that wait for it alone."""
        return sum(len(lane.waiting) for lane in self.ready)

    def takes(self, topic: Topic) -> bool:
        """Whether it gets new calls of a topic."""
        return topic in self.topics and not self.leaving


def checked_serve(frames: Sequence[bytes]) -> Said:
    """What a SERVE1 says. Raises BusError."""
    body = decode_control(frames)
    name, instance = _text(body, "name"), _text(body, "instance")
    window = body.get("window", WINDOW_DEFAULT)
    if type(window) is not int or window < 1:
        raise BusError("SERVE1 whose window is no whole number from 1")
    topics = body.get("topics")
    if not isinstance(topics, list) or len(topics) > TOPICS_MAX:
        raise BusError(f"SERVE1 without a list of at most {TOPICS_MAX} topics")
    return Said(name, instance, dict(map(_topic, topics)), min(window, WINDOW_MAX))


def checked_beat(frames: Sequence[bytes]) -> tuple[dict[str, int], dict[str, int]]:
    """(statistics, figures) that a BEAT1 tells; it need not tell any. Raises BusError."""
    body = decode_control(frames) if len(frames) > 1 else {}
    return _numbers(body, "statistics"), _numbers(body, "figures")


def _numbers(body: dict[str, Any], key: str) -> dict[str, int]:
    said = body.get(key, {})
    if not isinstance(said, dict) or len(said) > FIGURES_MAX:
        raise BusError(f"BEAT1 whose {key} are not up to {FIGURES_MAX} numbers by name")
    if not all(len(name) <= NAME_MAX_BYTES and type(value) is int for name, value in said.items()):
        raise BusError(f"BEAT1 with one of its {key} that is no whole number")
    return said


def _text(body: dict[str, Any], key: str) -> str:
    text = body.get(key)
    size = len(text.encode(errors="replace")) if isinstance(text, str) else 0
    if not isinstance(text, str) or not 1 <= size <= NAME_MAX_BYTES or not text.isprintable():
        raise BusError(f"SERVE1 whose {key} is not text of 1 to {NAME_MAX_BYTES} bytes")
    return text


def _topic(said: Any) -> tuple[Topic, bool]:
    """A topic, and whether it may be done twice."""
    fields = said if isinstance(said, dict) else {}
    topic = Topic(fields.get("signal", -1), fields.get("sub_signal", -1))
    good = all(type(number) is int for number in topic)
    if not good or not (0 <= topic.signal <= max(Signal) and 0 <= topic.sub_signal <= SUB_SIGNAL_MAX):
        raise BusError("SERVE1 with a topic that is none")
    return topic, fields.get("idempotent") is True
