"""What librdkafka complains of, told once in a while and not at every attempt."""

import logging
import threading
import time
from collections.abc import Callable

from confluent_kafka import KafkaError

_EVERY_S = 30.0
_TEXTS_MAX = 256


class Faults:
    """Logs each text once in 30 s. Of any thread."""

    def __init__(self, logger: logging.Logger, fatal: Callable[[str], None]) -> None:
        self._log, self._fatal = logger, fatal
        self._said: dict[str, float] = {}
        self._lock = threading.Lock()
        # librdkafka's own lines repeat what `note` is told.
        self.logger = logging.getLogger(f"{logger.name}.librdkafka")
        self.logger.setLevel(logging.CRITICAL)

    def note(self, error: KafkaError) -> None:
        """An error of a connection or of the group, which librdkafka gets over by itself; or a fatal one."""
        if error.fatal():
            self._fatal(error.str())
        elif error.code() == KafkaError._ALL_BROKERS_DOWN:
            self.warn("no broker answers: waiting for one")
        else:
            self.warn(error.str())

    def warn(self, text: str, about: str = "") -> None:
        """A line, unless it has just been said, about whatever."""
        now = time.monotonic()
        # Without the time that librdkafka adds: "(after 3ms in state CONNECT)".
        key = text.partition(" (after ")[0]
        with self._lock:
            if now < self._said.get(key, float("-inf")) + _EVERY_S:
                return
            if len(self._said) >= _TEXTS_MAX:
                self._said.clear()
            self._said[key] = now
        self._log.warning("%s%s", text[:500], f" ({about})" if about else "")
