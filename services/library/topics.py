"""The topics that a service answers, and by which functions."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from services.library.calls import ClientCall, Refusal, Returned
from shared.calls import Topic
from shared.signals import SUB_SIGNAL_MAX, Signal

Answer = bytes | Returned
Handler = Callable[[ClientCall], Answer]
#: Answers in the order of the calls; a Refusal among them is returned, not raised.
BatchHandler = Callable[[Sequence[ClientCall]], Sequence[Answer | Refusal]]


class Entry(NamedTuple):
    """How a topic is answered: by one of the two handlers."""

    topic: Topic
    idempotent: bool
    handler: Handler | None
    batch_handler: BatchHandler | None = None
    most: int = 1  # calls in a batch


class Topics:
    """A table of them."""

    def __init__(self) -> None:
        self._entries: dict[Topic, Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def add(self, entry: Entry) -> None:
        """Raises ValueError: no topic, or answered already."""
        topic = entry.topic
        are_numbers = all(isinstance(number, int) for number in topic)
        if not are_numbers or not (0 <= topic.signal <= max(Signal) and 0 <= topic.sub_signal <= SUB_SIGNAL_MAX):
            raise ValueError(f"{topic} is no topic: a signal, and a sub_signal from 0 to {SUB_SIGNAL_MAX}")
        if topic in self._entries:
            raise ValueError(f"signal {topic.signal}, sub_signal {topic.sub_signal} has a handler already")
        self._entries[topic] = entry

    def find(self, topic: Topic) -> Entry | None:
        return self._entries.get(topic)

    def told(self) -> list[dict[str, Any]]:
        """As SERVE1 has them."""
        return [
            {
                "signal": int(entry.topic.signal),
                "sub_signal": int(entry.topic.sub_signal),
                "idempotent": entry.idempotent,
            }
            for entry in self
        ]
