"""Options of librdkafka."""

import pytest

from services.kafka_bridge.options import consumer_options, parse_file, producer_options, sender_name
from shared.errors import SettingsError
from shared.settings import Settings

SETTINGS = Settings(kafka_brokers="one:9092", kafka_topics="t", kafka_group="g")


def test_a_file_adds_and_changes() -> None:
    said = parse_file("# TLS\nsecurity.protocol = ssl\n\nauto.offset.reset=latest\nlinger.ms=1\n")
    consumer, producer = consumer_options(SETTINGS, said), producer_options(SETTINGS, said)
    assert consumer["security.protocol"] == producer["security.protocol"] == "ssl"
    assert consumer["auto.offset.reset"] == "latest"
    assert "auto.offset.reset" not in producer
    assert producer["linger.ms"] == "1"
    assert "linger.ms" not in consumer
    assert (consumer["group.id"], consumer["bootstrap.servers"]) == ("g", "one:9092")


@pytest.mark.parametrize("name", ["enable.auto.offset.store", "group.id", "partition.assignment.strategy", "acks"])
def test_what_the_promises_rest_on_stays(name: str) -> None:
    with pytest.raises(SettingsError, match=f"line 2: {name} is the bridge's own"):
        parse_file(f"client.id = x\n{name} = y")


def test_a_line_that_is_none_is_not_shown() -> None:
    with pytest.raises(SettingsError) as caught:
        parse_file("secret")
    assert str(caught.value) == "kafka_options_file: line 1 is not NAME = VALUE"


def test_the_name_of_the_sender_fits() -> None:
    assert sender_name(SETTINGS) == "kafka-g"
    assert len(sender_name(Settings(kafka_group="ü" * 100)).encode()) <= 64
