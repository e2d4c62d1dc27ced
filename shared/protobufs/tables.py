"""The table of topics whose bodies are protobuf: `topics.json`, checked (docs/services.md, section Protobuf)."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import ujson

from shared.errors import SettingsError
from shared.signals import SUB_SIGNAL_MAX, Signal, SubSignal

SETTING = "protobuf_dir"
#: What a topic can have a message for: what a client asks, what it is answered, what is pushed to it unasked.
REQUEST, ANSWER, PUSH = "request", "answer", "push"
_DIRECTIONS = (REQUEST, ANSWER, PUSH)
_SIGNALS = (Signal.PUBLISH, Signal.CONNECT_ACK)


class Place(NamedTuple):
    """Where a message stands."""

    signal: int
    sub_signal: int
    direction: str


class Spelling(NamedTuple):
    """How a message is written in JSON, where that is not protobuf's own JSON form."""

    names: Mapping[str, str]  # field -> its name in JSON
    numbers: frozenset[str]  # fields of 64 bits that are numbers; the others are strings


PLAIN = Spelling({}, frozenset())


class Table(NamedTuple):
    """Full names of messages by where they stand, and spellings by full name."""

    messages: dict[Place, str]
    spellings: dict[str, Spelling]


def parse_table(text: str) -> Table:
    """A `topics.json`. Raises SettingsError."""
    try:
        fields = ujson.loads(text)
        if not isinstance(fields, dict) or not fields.keys() <= {"topics", "messages"}:
            raise SettingsError(SETTING, "topics.json is no object of topics and messages")
        messages = dict(_messages(fields.get("topics", [])))
        return Table(messages, {str(name): _spelling(said) for name, said in fields.get("messages", {}).items()})
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise SettingsError(SETTING, f"topics.json is malformed: {error}") from None


def _messages(topics: list[dict[str, Any]]) -> list[tuple[Place, str]]:
    found = []
    for topic in topics:
        signal, sub_signal = _number(Signal, topic["signal"]), _number(SubSignal, topic["sub_signal"])
        if signal not in _SIGNALS:
            raise ValueError(f"bodies of signal {signal} are not converted")
        found += [(Place(signal, sub_signal, way), str(topic[way])) for way in _DIRECTIONS if way in topic]
    return found


def _number(kind: type[Signal] | type[SubSignal], said: str | int) -> int:
    number = said if isinstance(said, int) else int(kind[said.upper()])
    if not 0 <= number <= SUB_SIGNAL_MAX:
        raise ValueError(f"{number} is no {kind.__name__}")
    return number


def _spelling(said: dict[str, Any]) -> Spelling:
    return Spelling(dict(said.get("names", {})), frozenset(said.get("numbers", ())))
