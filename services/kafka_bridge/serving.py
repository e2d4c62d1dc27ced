"""Composition of the Kafka bridge, and the loop of its one thread that decides."""

import logging
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from services.kafka_bridge.bridges import Bridge, Limits
from services.kafka_bridge.consumers import Leaving, Reader
from services.kafka_bridge.faults import Faults
from services.kafka_bridge.options import consumer_options, parse_file, producer_options, sender_name
from services.kafka_bridge.partitions import Entry
from services.kafka_bridge.records import Place, Record, Wanted
from services.kafka_bridge.writers import Writer
from services.sender import Push, Sender, SenderError
from services.status.addresses import reachable_endpoints
from services.status.keys import status_keys
from shared.errors import SettingsError
from shared.outcomes import Outcome
from shared.settings import Settings, split
from shared.spans import Span, Spans
from shared.startup.tracing import open_tracing

logger = logging.getLogger(__name__)

#: Exit status that asks for a new start.
FAILED = 1
#: Seconds: the longest wait for what is under way when a partition goes; between two lines of figures.
_LEAVE_S = 4.0
_FIGURES_S = 60.0
#: Requests in flight to a router, each of one record. Its queue is bounded by what the partitions hold.
_WINDOW = 1000
_QUEUE_PUSHES, _QUEUE_BYTES = 50_000, 512 << 20
#: Codes that are the record's own fault. Anything else, such as a key that may not push, stops its partition.
_OF_THE_RECORD = frozenset({"bad_options", "malformed", "too_large", "not_supported", "id_reused"})


def serve(settings: Settings) -> int:
    """Until SIGTERM or SIGINT; what is under way is then finished and committed. The exit status.

    Raises SettingsError.
    """
    said = options_file(settings)
    endpoints = reachable_endpoints(settings)
    if not endpoints:
        raise SettingsError("kafka_brokers", "no router runs on this host: nobody would take the pushes")
    tracing = open_tracing(settings, "kafka-bridge", settings.host_name)
    sender = Sender(
        endpoints,
        name=sender_name(settings),
        curve=status_keys(settings),
        retries=0,
        window=_WINDOW,
        queue_pushes=_QUEUE_PUSHES,
        queue_bytes=_QUEUE_BYTES,
        spans=tracing,
    )
    try:
        return Serving(settings, sender, said, tracing).run()
    finally:
        sender.close(0)
        if tracing is not None:
            tracing.close()


def options_file(settings: Settings) -> dict[str, str]:
    """What it says, by name. Raises SettingsError."""
    if not settings.kafka_options_file:
        return {}
    try:
        return parse_file(Path(settings.kafka_options_file).read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError("kafka_options_file", f"{error.filename}: {(error.strerror or '').lower()}") from None
    except UnicodeDecodeError:
        raise SettingsError("kafka_options_file", "not UTF-8") from None


class Serving:
    """One bridge. Everything that happens comes through one queue; only `run` touches the core."""

    def __init__(self, settings: Settings, sender: Sender, said: dict[str, str], spans: Spans | None = None) -> None:
        self._events: SimpleQueue[Any] = SimpleQueue()
        self._sender, self._spans = sender, spans
        self._faults = Faults(logger, lambda text: self._events.put(RuntimeError(text)))
        self._bridge = Bridge(_limits(settings))
        topics = split(settings.kafka_topics)
        logger.info("reading %s of %s as group %s", ", ".join(topics), settings.kafka_brokers, settings.kafka_group)
        try:
            self._reader = Reader(consumer_options(settings, said), topics, self._faults, self._events.put)
            self._writer = self._open_writer(settings, said)
        except Exception as error:  # KafkaException: an option that librdkafka does not know, or does not like
            raise SettingsError("kafka_options_file", str(error)) from None
        self._leavings: list[tuple[Leaving, float]] = []
        self._batch_taken = False
        self._status = 0
        self._figures_at, self._counted = time.monotonic() + _FIGURES_S, 0

    def _open_writer(self, settings: Settings, said: dict[str, str]) -> Writer | None:
        dead, outcomes = settings.kafka_dead_letter_topic, settings.kafka_outcome_topic
        if not dead and not outcomes:
            return None
        options = producer_options(settings, said)
        return Writer(options, dead, outcomes, self._faults, lambda entry, ok: self._events.put((entry, ok)))

    # --- the loop

    def run(self) -> int:
        """Until told to stop; the exit status."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._events.put(None))
        self._reader.start()
        while self._reader.is_alive:
            self._take(self._wait())
            now = time.monotonic()
            self._do(now)
            self._let_go(now)
            self._tell(now)
        if self._writer:
            self._writer.close()
        logger.info("left the group: %s", self._figures())
        return self._status

    def _wait(self) -> list[Any]:
        """What has happened, all of it; waits for the first."""
        now = time.monotonic()
        due = min([self._bridge.next_deadline(), *(until for _, until in self._leavings), now + 0.5])
        try:
            events = [self._events.get(timeout=max(0.0, due - now))]
        except Empty:
            return []
        events += [self._events.get_nowait() for _ in range(self._events.qsize())]
        return events

    def _take(self, events: list[Any]) -> None:
        now = time.monotonic()
        for event in events:
            if isinstance(event, tuple):
                self._take_one(event, now)
            elif isinstance(event, list):
                for record in event:
                    self._bridge.take(record)
                self._batch_taken = True
            elif isinstance(event, Leaving):
                self._bridge.leave(event.places)
                self._leavings.append((event, now + _LEAVE_S))
            elif event is None:
                self._reader.stop()
            else:
                self._fail(event)

    def _take_one(self, event: tuple[Any, Any], now: float) -> None:
        first, second = event
        if isinstance(first, Entry) and isinstance(second, bool):
            self._bridge.written(first, second, now)
        elif isinstance(first, Entry):
            self._settle(first, second, now)
        elif first == "assigned":
            self._bridge.assign(second)
            logger.info("assigned %s", _in_words(second))
        else:
            self._bridge.forget(second)
            logger.warning("lost %s", _in_words(second))

    def _fail(self, error: Exception) -> None:
        logger.error("the bridge cannot go on: %s", error, exc_info=None if isinstance(error, RuntimeError) else error)
        self._status = FAILED
        self._reader.stop()

    # --- pushes

    def _do(self, now: float) -> None:
        turn = self._bridge.turn(now)
        self._reader.ask(turn.positions, turn.pauses, turn.resumes)
        if self._batch_taken:  # not before: the pause has to come first
            self._batch_taken = False
            self._reader.taken()
        for record_id, reason in turn.dropped:
            logger.warning("%s is no push, and there is no dead-letter topic: %s", record_id, reason)
        for entry in turn.writes:
            assert self._writer is not None
            self._writer.write(entry)
        for entry in turn.pushes:
            self._push(entry, now)

    def _push(self, entry: Entry, now: float) -> None:
        wanted = entry.wanted
        assert wanted is not None
        span = begun(self._spans, entry.record, wanted) if self._spans and entry.record else None
        options = {**wanted.options, "traceparent": span.traceparent} if span and span.is_kept else wanted.options
        try:
            pairs = [(wanted.target, wanted.payload)]
            [push] = self._sender.push_request(pairs, id=entry.id, **options)
        except SenderError as error:
            if span:
                span.end({}, error.code)
            self._refused(entry, error, now)
        else:
            if span:
                push.add_done_callback(lambda push: span.end({}, push.error.code if push.error else ""))
            push.add_done_callback(self._answered(entry))

    def _answered(self, entry: Entry) -> Callable[[Push], None]:
        return lambda push: self._events.put((entry, push))

    def _settle(self, entry: Entry, push: Push, now: float) -> None:
        if push.error is not None:
            self._refused(entry, push.error, now)
            return
        assert push.value is not None
        self._bridge.settle(entry, push.value, now, self._sender.push_id(push), push.detail)

    def _refused(self, entry: Entry, error: SenderError, now: float) -> None:
        if error.code in _OF_THE_RECORD:
            self._bridge.refuse(entry, error.code, error.message, now)
        else:
            self._faults.warn(f"push: {error}", entry.record.shown if entry.record else entry.id)
            self._bridge.settle(entry, Outcome.UNKNOWN, now)

    # --- ends

    def _let_go(self, now: float) -> None:
        """Partitions that go to others: when nothing of them is under way, or time is up."""
        for one in list(self._leavings):
            leaving, until = one
            if now >= until or self._bridge.is_settled(leaving.places):
                self._leavings.remove(one)
                leaving.positions = self._bridge.forget(leaving.places)
                logger.info("let go of %s", _in_words(leaving.places))
                leaving.done.set()

    def _tell(self, now: float) -> None:
        if now < self._figures_at:
            return
        self._figures_at = now + _FIGURES_S
        records = self._bridge.counters["records"]
        if records != self._counted:
            self._counted = records
            logger.info("%s", self._figures())

    def _figures(self) -> str:
        return ", ".join([f"{name} {count}" for name, count in self._bridge.counters.items()])


def begun(spans: Spans, record: Record, wanted: Wanted) -> Span:
    """The span of a record, from when it is pushed to its outcome."""
    told: dict[str, str | int | float | bool] = {
        "messaging.system": "kafka",
        "messaging.destination.name": record.place.topic,
        "messaging.destination.partition.id": str(record.place.partition),
        "messaging.kafka.offset": record.offset,
        "push.request_id": str(wanted.options["request_id"]),
    }
    return spans.start(f"process {record.place.topic}", record.traceparent, "consumer", told)


def _limits(settings: Settings) -> Limits:
    return Limits(
        records_max=settings.kafka_records_max,
        bytes_max=settings.kafka_bytes_max,
        payload_max=settings.body_limit_bytes,
        writes_dead_letters=bool(settings.kafka_dead_letter_topic),
        writes_outcomes=bool(settings.kafka_outcome_topic),
    )


def _in_words(places: Sequence[Place]) -> str:
    return ", ".join([f"{topic}/{partition}" for topic, partition in places]) or "nothing"
