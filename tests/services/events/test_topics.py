"""A topic of Kafka whose broker is not there. With a real broker: tests/fleet/test_kafka.py."""

import pytest

from services.events.receivers import NotTaken
from services.events.topics import KafkaTopic
from services.kafka_bridge.options import producer_options
from services.storage.events import Kept
from shared.errors import SettingsError
from shared.settings import Settings

NOBODY = Settings(kafka_brokers="127.0.0.1:1", kafka_events_topic="events")


def test_without_a_broker_nothing_is_taken() -> None:
    topic = KafkaTopic(producer_options(NOBODY, {"message.timeout.ms": "300"}), "events")
    for attempt in (1, 2):
        with pytest.raises(NotTaken, match="timed out"):
            topic.deliver([Kept(1, "a", "expired", 5, "{}"), Kept(2, "b", "expired", 5, "{}")], attempt)


def test_options_that_do_not_exist_are_refused() -> None:
    with pytest.raises(SettingsError, match="kafka_options_file"):
        KafkaTopic(producer_options(NOBODY, {"no.such.option": "1"}), "events")
