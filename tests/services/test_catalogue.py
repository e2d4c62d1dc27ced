"""services/catalogue.py: which services a fleet has."""

from importlib import import_module

import pytest

from services.catalogue import MODULES, chosen, in_words, instance, variables
from services.fleet.supervision import CONFIGURATION
from shared.errors import SettingsError
from shared.settings import Settings


def test_all_is_all_there_are() -> None:
    assert set(chosen(Settings())) == set(MODULES)
    assert 0 not in chosen(Settings()).values()
    assert set(chosen(Settings(services="")).values()) == {0}


def test_those_named_are_chosen() -> None:
    settings = Settings(services=" subscribe ,")
    assert [name for name, count in chosen(settings).items() if count] == ["subscribe"]
    assert in_words(settings) == ["subscribe service"]
    assert variables(settings)["FLEET_SUBSCRIBE"] == "1"
    with pytest.raises(SettingsError, match=r"^services: 'subscriber' is none of all, subscribe"):
        chosen(Settings(services="subscribe,subscriber"))


def test_instances_beside_the_first_have_numbers() -> None:
    assert [instance("subscribe", 0), instance("subscribe", 1)] == ["subscribe", "subscribe-1"]
    assert instance("message-cache", 0) == "message-cache-0"


def test_a_kafka_bridge_runs_where_brokers_are_named() -> None:
    there = Settings(kafka_brokers="127.0.0.1:9092", kafka_topics="pushes")
    assert variables(there)["FLEET_KAFKA_BRIDGE"] == "1"
    assert in_words(there)[-1] == "Kafka bridge"
    assert variables(Settings())["FLEET_KAFKA_BRIDGE"] == "0"


def test_the_events_service_runs_where_anybody_wants_events() -> None:
    hook = Settings(event_webhook_url="http://127.0.0.1/", event_webhook_secret_file="secret")
    topic = Settings(kafka_brokers="127.0.0.1:9092", kafka_events_topic="events")
    assert [variables(one)["FLEET_EVENTS"] for one in (hook, topic, Settings())] == ["1", "1", "0"]
    assert variables(topic)["FLEET_KAFKA_BRIDGE"] == "0"
    assert in_words(topic)[-1] == "events service"


@pytest.mark.parametrize("name", MODULES)
def test_each_has_a_module_and_a_program(name: str) -> None:
    assert callable(import_module(MODULES[name]).serve)
    variable = f"FLEET_{name.upper().replace('-', '_')}"
    program = CONFIGURATION.read_text().partition(f"[program:{name}]\n")[2].partition("\n\n")[0]
    assert f"command = push-services run {name} --index %(process_num)d\n" in program
    assert f"numprocs = %(ENV_{variable})s\n" in program
    group = CONFIGURATION.read_text().partition("[group:services]\nprograms = ")[2].partition("\n")[0]
    assert name in group.split(",")
