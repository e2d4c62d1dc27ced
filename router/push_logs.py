"""One line for a request whose sender has given a request id: what became of it, and by which workers it went."""

import logging
import time

from router.journeys import Arrival
from shared.log_events import Event

logger = logging.getLogger("router.pushes")

#: The most lines in a second.
LINES_PER_S = 1000


class PushLogs:
    """INFO for what is out of the ordinary, else DEBUG."""

    def __init__(self, lines_per_s: int = LINES_PER_S) -> None:
        self._most = lines_per_s
        self._second = self._lines = 0

    def note(self, arrival: Arrival) -> None:
        """A request has been answered."""
        level = logging.DEBUG if arrival.is_usual else logging.INFO
        if not logger.isEnabledFor(level) or not self._allows():
            return
        journey = arrival.journey
        event = Event(
            "push",
            request_id=journey.origin.shown,
            sender=journey.sender,
            to=journey.kind,
            **arrival.counts(),
            fault=arrival.fault,
            repeat=arrival.repeat,
            workers=",".join(dict.fromkeys(hop.worker for hop in journey.hops)),
            ms=round((arrival.now - journey.since) * 1000, 3),
        )
        logger.log(level, event)

    def _allows(self) -> bool:
        second = int(time.monotonic())
        if second != self._second:
            if self._lines > self._most:
                logger.info("%d lines about pushes were left out", self._lines - self._most)
            self._second, self._lines = second, 0
        self._lines += 1
        return self._lines <= self._most
