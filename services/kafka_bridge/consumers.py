"""The thread that reads Kafka. What it reads and hears goes into one queue, in order; it decides nothing."""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, cast

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from services.kafka_bridge.faults import Faults
from services.kafka_bridge.records import Header, Place, Record

logger = logging.getLogger(__name__)

_POLL_S = 0.1
#: The same while a partition is paused, so that it is soon read on.
_PAUSED_POLL_S = 0.005
#: Records that are handed over at once; the next are read when these have been taken.
_BATCH = 500

Positions = list[tuple[Place, int]]


class Leaving:
    """Partitions that are about to go: `done` is set when `positions` says what is to be committed of them."""

    def __init__(self, places: Sequence[Place]) -> None:
        self.places = places
        self.positions: Positions = []
        self.done = threading.Event()


class Reader:
    """A member of the consumer group. `hear` gets lists of Record, ("assigned" or "lost", places) and Leaving."""

    def __init__(self, options: Mapping[str, str], topics: Sequence[str], faults: Faults, hear: Callable[[Any], None]):
        self._consumer = Consumer({**options, "error_cb": faults.note}, logger=faults.logger)
        self._topics, self._faults, self._hear = topics, faults, hear
        self._batch: list[Record] = []
        self._lock = threading.Lock()
        self._stores: dict[Place, int] = {}
        self._switches: list[tuple[bool, Place]] = []
        self._paused: set[Place] = set()
        self._room = threading.Semaphore(0)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kafka-reader", daemon=True)

    def start(self) -> None:
        """Joins the group."""
        self._consumer.subscribe(
            list(self._topics), on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
        )
        self._thread.start()

    def taken(self) -> None:
        """A batch has been taken: the next may come."""
        self._room.release()

    def stop(self) -> None:
        """Has it commit what is done, and leave; `is_alive` tells when."""
        self._stopping.set()
        self._room.release()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def ask(self, positions: Iterable[tuple[Place, int]], pauses: Iterable[Place], resumes: Iterable[Place]) -> None:
        """Has offsets stored, which librdkafka commits with its next ones, and partitions paused or read on.

        Done by the reading thread before its next poll: confluent-kafka lets one thread at a time into a consumer.
        """
        with self._lock:
            self._stores.update(positions)
            self._switches += [(False, place) for place in pauses] + [(True, place) for place in resumes]

    # --- inside

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._read()
            self._leave([Place(one.topic, one.partition) for one in self._consumer.assignment()])
        except Exception as error:
            self._hear(error)
        finally:
            self._consumer.close()

    def _read(self) -> None:
        """One batch: whatever is there."""
        self._do_what_was_asked()
        message = self._consumer.poll(_PAUSED_POLL_S if self._paused else _POLL_S)
        while message is not None:
            self._note(message)
            if len(self._batch) >= _BATCH:
                break
            message = self._consumer.poll(0)
        self._hand_over()

    def _do_what_was_asked(self) -> None:
        with self._lock:
            stores, self._stores = self._stores, {}
            switches, self._switches = self._switches, []
        for place, offset in stores.items():
            # Refused when it has just gone to another member, who gets these records too.
            with suppress(KafkaException):
                self._consumer.store_offsets(offsets=[TopicPartition(*place, offset)])
        for on, place in switches:
            with suppress(KafkaException):
                (self._consumer.resume if on else self._consumer.pause)([TopicPartition(*place)])
            (self._paused.discard if on else self._paused.add)(place)

    def _let_go(self, places: Sequence[Place]) -> None:
        """These are no longer this member's: what was asked about them is void."""
        with self._lock:
            for place in places:
                self._stores.pop(place, None)
                self._paused.discard(place)
            self._switches = [switch for switch in self._switches if switch[1] not in places]

    def _note(self, message: Message) -> None:
        if error := message.error():
            self._faults.warn(f"{message.topic() or 'kafka'}: {error.str()}")
            return
        place = Place(str(message.topic()), int(message.partition() or 0))
        kind, timestamp = message.timestamp()
        headers = cast(Sequence[Header], message.headers() or ())
        offset = message.offset()
        assert offset is not None
        self._batch.append(Record(place, offset, message.key(), message.value(), headers, timestamp if kind else 0))

    def _hand_over(self) -> None:
        if self._batch:
            batch, self._batch = self._batch, []
            self._hear(batch)
            self._room.acquire()

    # Called by librdkafka in `poll`. What was read before goes first.

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._hand_over()
        self._hear(("assigned", _places(partitions)))
        consumer.incremental_assign(partitions)

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._hand_over()
        self._leave(_places(partitions))
        consumer.incremental_unassign(partitions)

    def _lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._hand_over()
        self._hear(("lost", _places(partitions)))
        self._let_go(_places(partitions))
        consumer.incremental_unassign(partitions)

    def _leave(self, places: list[Place]) -> None:
        """Ends what is under way of these, and commits."""
        leaving = Leaving(places)
        self._hear(leaving)
        leaving.done.wait()
        self._let_go(places)
        offsets = [TopicPartition(*place, offset) for place, offset in leaving.positions]
        if not offsets:
            return
        try:
            self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            self._faults.warn(f"commit: {error}")


def _places(partitions: Iterable[TopicPartition]) -> list[Place]:
    return [Place(one.topic, one.partition) for one in partitions]
