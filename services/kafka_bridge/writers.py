"""Dead letters and outcomes on their way to their topics."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import ujson
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from services.kafka_bridge.bridges import DeadLetter, Report
from services.kafka_bridge.faults import Faults
from services.kafka_bridge.partitions import Entry
from services.kafka_bridge.records import Header, Record

logger = logging.getLogger(__name__)

_POLL_S = 0.1
_FLUSH_S = 1.0


class Writer:
    """A producer, and a thread that hears what has arrived. `written(entry, ok)` is called from there."""

    def __init__(
        self,
        options: Mapping[str, str],
        dead_letter_topic: str,
        outcome_topic: str,
        faults: Faults,
        written: Callable[[Entry, bool], None],
    ) -> None:
        common: dict[str, Any] = {**options, "error_cb": faults.note, "logger": faults.logger}
        self._outcomes = Producer(common)
        # One by one: a broker refuses all that come together when one is too large.
        self._dead_letters = Producer({**common, "batch.num.messages": "1"})
        self._dead_letter_topic, self._outcome_topic = dead_letter_topic, outcome_topic
        self._faults, self._written = faults, written
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="kafka-writer", daemon=True)
        self._thread.start()

    def write(self, entry: Entry) -> None:
        """Sends what there is to say of a record; never waits."""
        record = entry.record
        if record is None:
            return
        if isinstance(entry.told, DeadLetter):
            headers = dead_letter_headers(record, entry.told.reason)
            self._produce(self._dead_letters, entry, self._dead_letter_topic, record.value, headers)
        elif isinstance(entry.told, Report):
            self._produce(self._outcomes, entry, self._outcome_topic, outcome_value(record, entry.told), [])

    def _produce(
        self, producer: Producer, entry: Entry, topic: str, value: bytes | None, headers: list[Header]
    ) -> None:
        def arrived(error: KafkaError | None, message: Message) -> None:
            if error is not None and error.code() == KafkaError.MSG_SIZE_TOO_LARGE and value is not None:
                # With the reason it no longer fits: the record itself stays where it was.
                self._produce(producer, entry, topic, None, [*headers, ("dead-letter-value", b"left out: too large")])
                return
            if error is not None:
                self._faults.warn(f"{topic}: {error.str()}")
            self._written(entry, error is None)

        key = entry.record.key if entry.record else None
        try:
            producer.produce(topic, value=value, key=key, headers=headers, on_delivery=arrived)
        except (BufferError, KafkaException) as error:
            self._faults.warn(f"{topic}: {error}")
            self._written(entry, False)

    def _listen(self) -> None:
        while not self._ended.is_set():
            try:
                self._outcomes.poll(_POLL_S)
                self._dead_letters.poll(0)
            except Exception:
                logger.exception("internal error: the outcome of a write is lost")

    def close(self) -> None:
        """Sends what is left, for two seconds at most."""
        self._ended.set()
        self._thread.join()
        for producer in (self._outcomes, self._dead_letters):
            producer.flush(_FLUSH_S)


def dead_letter_headers(record: Record, reason: str) -> list[Header]:
    """The record's own headers, why it is here and where it was."""
    said = {
        "dead-letter-reason": reason,
        "dead-letter-topic": record.place.topic,
        "dead-letter-partition": str(record.place.partition),
        "dead-letter-offset": str(record.offset),
    }
    return [*record.headers, *((name, text.encode()) for name, text in said.items())]


def outcome_value(record: Record, report: Report) -> bytes:
    """JSON: the outcome by name, which record it was, the push id, and when (Unix ms)."""
    value: dict[str, Any] = {
        "outcome": report.outcome.name,
        "topic": record.place.topic,
        "partition": record.place.partition,
        "offset": record.offset,
        "push_id": report.push_id,
        "request_id": record.request_id,
        "at": time.time_ns() // 1_000_000,
    }
    if report.counts:
        value["counts"] = report.counts
    return ujson.dumps(value).encode()
