"""A topic of Kafka as a receiver of events: key = token, value = the event, confirmed by delivery reports."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from services.events.receivers import NotTaken
from services.kafka_bridge.faults import Faults
from services.storage.events import Kept
from shared.errors import SettingsError

logger = logging.getLogger(__name__)

_POLL_S = 0.2


class KafkaTopic:
    """See Receiver. The producer is idempotent: within a batch nothing comes twice, and a token's events in order."""

    name, most = "kafka", 500

    def __init__(self, options: Mapping[str, str], topic: str) -> None:
        """`options`: librdkafka's. Raises SettingsError for those that it does not like."""
        self._options, self._topic = options, topic
        self._faults = Faults(logger, self._fail)
        self._broken = False
        self._producer = self._open()

    def _open(self) -> Producer:
        more: dict[str, Any] = {"error_cb": self._faults.note, "logger": self._faults.logger}
        try:
            return Producer({**self._options, **more})
        except KafkaException as error:
            raise SettingsError("kafka_options_file", str(error)) from None

    def _fail(self, why: str) -> None:
        self._broken = True
        logger.error("the producer cannot go on, and is made anew: %s", why)

    def deliver(self, events: Sequence[Kept], attempt: int) -> None:
        """Waits until each has arrived, or will not: `message.timeout.ms` bounds it. Raises NotTaken."""
        if self._broken:
            self._producer, self._broken = self._open(), False
        arrived, faults = 0, []

        def report(error: KafkaError | None, _: Message) -> None:
            nonlocal arrived
            arrived += 1
            if error is not None:
                faults.append(error.str())

        produced = 0
        try:
            for event in events:
                value, key = event.json().encode(), event.token.encode()
                self._producer.produce(
                    self._topic, value=value, key=key, headers={"kind": event.kind}, on_delivery=report
                )
                produced += 1
        except (BufferError, KafkaException) as error:
            faults.append(str(error))
        while arrived < produced and not self._broken:
            self._producer.poll(_POLL_S)
        if faults or self._broken:
            raise NotTaken(faults[0] if faults else "the producer has failed")

    def close(self) -> None:
        """Nothing is under way."""
