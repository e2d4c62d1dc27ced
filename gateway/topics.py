"""Which topics are answered, and by which routers' services: what each router has told by TOPICS1.

Pure.
"""

from collections.abc import Iterable
from typing import Any

from shared.calls import Topic
from shared.errors import BusError


class Topics:
    """The answered topics of each router."""

    def __init__(self) -> None:
        self._by_router: dict[int, dict[Topic, bool]] = {}  # topic -> idempotent

    def told(self, router: int, listed: Any) -> None:
        """A router's topics as they are now: [[signal, sub_signal, idempotent], ...]. Raises BusError."""
        try:
            topics = {Topic(int(signal), int(sub_signal)): bool(again) for signal, sub_signal, again, *_ in listed}
        except (TypeError, ValueError) as error:
            raise BusError(f"malformed topics: {error}") from None
        self._by_router[router] = topics

    def forget(self, router: int) -> None:
        """A router that has started anew tells its topics again."""
        self._by_router.pop(router, None)

    def router_for(self, topic: Topic, routers: Iterable[int]) -> int | None:
        """The first of these routers whose services answer a topic."""
        return next((router for router in routers if topic in self._by_router.get(router, ())), None)

    def is_idempotent(self, topic: Topic) -> bool:
        """Whether a call may be made twice, as any router tells."""
        return any(topics.get(topic, False) for topics in self._by_router.values())
