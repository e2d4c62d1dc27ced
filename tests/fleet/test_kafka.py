"""The Kafka bridge between a real broker and a real fleet."""

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.clients.conversations import Conversation
from tests.clients.kinds import connect
from tests.fleet.conftest import StartFleet
from tests.fleet.fleet_process import Fleet
from tests.fleet.otlp_receiver import Receiver
from tests.fleet.processes import wait_until
from tests.kafka.jars import missing

pytestmark = [
    pytest.mark.skipif(bool(missing()) and not os.environ.get("CI"), reason=missing() or "-"),
    pytest.mark.timeout(600),  # Maven may have to fetch the broker first
]

if not missing():
    from tests.kafka.brokers import Broker

PATIENCE_S = 60


@pytest.fixture(scope="module")
def broker() -> Iterator["Broker"]:
    assert not missing()
    with Broker() as broker:
        yield broker


@pytest.fixture
def fleet(start_fleet: StartFleet) -> Fleet:
    return start_fleet(workers=2)


def start(fleet: Fleet, address: str, topics: str, index: int = 0, **settings: object) -> None:
    fleet.start_kafka_bridge(index, kafka_brokers=address, kafka_topics=topics, kafka_group=topics, **settings)


def log(fleet: Fleet, index: int = 0) -> str:
    return fleet.log(f"kafka-bridge-{index}" if index else "kafka-bridge")


def wait_for_no_lag(broker: "Broker", topic: str, partitions: int = 1) -> None:
    wait_until(lambda: broker.lag(topic, topic, partitions) == 0, "no lag", PATIENCE_S)


def figure(fleet: Fleet, name: str) -> int:
    """What the events service says of itself; -1 while it does not."""
    services = fleet.stat()["services"]
    return next((said["figures"].get(name, -1) for who, said in services.items() if who.startswith("events/")), -1)


def online(fleet: Fleet, token: str) -> Conversation:
    client = connect("v2", fleet.address, deadline=PATIENCE_S)
    client.subscribe(token)
    return client


def test_a_record_is_pushed_with_its_options_and_told(broker: "Broker", fleet: Fleet) -> None:
    topic, outcomes = broker.make_topic("plain"), broker.make_topic("plain-outcomes")
    start(fleet, broker.address, topic, kafka_outcome_topic=outcomes)
    with online(fleet, "alice") as alice:
        broker.produce(topic, ("alice", b"one"), ("nobody", b"x"), (None, b"all", {"to": "all", "trace": "t-1"}))
        assert {alice.read_push().body for _ in range(2)} == {b"one", b"all"}
        told = {json.loads(one.value())["offset"]: one for one in broker.read(outcomes, 3)}
    assert [json.loads(told[offset].value())["outcome"] for offset in range(3)] == ["SENT", "OFFLINE", "SENT"]
    assert json.loads(told[2].value())["counts"]["sent"] == 1
    assert told[0].key() == b"alice"
    assert json.loads(told[0].value())["push_id"]
    wait_for_no_lag(broker, topic)
    assert fleet.stop_service("kafka-bridge") == 0


def test_a_record_is_followed_by_its_request_id_and_its_trace(broker: "Broker", fleet: Fleet) -> None:
    trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    topic, outcomes = broker.make_topic("followed"), broker.make_topic("followed-outcomes")
    with Receiver() as receiver:
        start(fleet, broker.address, topic, kafka_outcome_topic=outcomes, otel_endpoint=receiver.endpoint)
        headers = {"request-id": "order-7", "traceparent": f"00-{trace}-{span}-01"}
        broker.produce(topic, ("nobody", b"x", headers), ("nobody", b"y"))
        told = [json.loads(one.value())["request_id"] for one in broker.read(outcomes, 2)]
        assert told == ["order-7", f"{topic}/0/1"]
        wait_for_no_lag(broker, topic)
        assert fleet.stop_service("kafka-bridge") == 0  # with that, all spans are told
        found = receiver.of(trace)
    process, push = found[f"process {topic}"], found["push"]
    assert (process.parent, push.parent) == (span, process.id)
    assert {each.service for each in found.values()} == {"push-gateway-kafka-bridge"}
    assert {each.attributes["push.request_id"] for each in found.values()} == {"order-7"}
    assert process.attributes["messaging.destination.name"] == topic


def test_poison_goes_to_the_dead_letters_before_it_is_committed(broker: "Broker", fleet: Fleet) -> None:
    topic, dead = broker.make_topic("poison"), broker.make_topic("poison-dead", max_message_bytes="5000")
    start(fleet, broker.address, topic, kafka_dead_letter_topic=dead, body_limit_bytes=4950)
    with online(fleet, "bob") as bob:
        broker.produce(
            topic,
            (None, b"no key"),
            ("bob", b"a", {"ttl": "soon"}),
            ("bob", b"b", {"to": "nowhere"}),
            ("bob", None),
            ("bob", b"c", {"collapse": b"\xff"}),
            ("bob", b"d" * 5000),
            ("bob", b"last"),
        )
        assert bob.read_push().body == b"last"
    letters = broker.read(dead, 6)
    reasons = {dict(one.headers())["dead-letter-offset"]: dict(one.headers()) for one in letters}
    said = [reasons[b"%d" % offset]["dead-letter-reason"].decode() for offset in range(6)]
    assert said == [
        "record has no key",
        "header ttl is no whole number",
        "to is none of token, user, group, all",
        "record has no value",
        "header collapse is not UTF-8",
        "value of 5000 bytes exceeds the limit of 4950",
    ]
    assert reasons[b"1"]["ttl"] == b"soon"
    assert reasons[b"1"]["dead-letter-topic"] == b"poison"
    assert {one.value() for one in letters} >= {b"no key", b"a", b"b", b"c"}
    assert reasons[b"5"]["dead-letter-value"] == b"left out: too large"
    wait_for_no_lag(broker, topic)


def test_a_second_bridge_joins_and_the_first_leaves(broker: "Broker", fleet: Fleet) -> None:
    topic, each = broker.make_topic("shared", 4), 300
    start(fleet, broker.address, topic)
    wait_until(lambda: "assigned shared/0" in log(fleet), "the first has all", PATIENCE_S)
    clients = {f"member-{number}": online(fleet, f"member-{number}") for number in range(8)}
    try:
        broker.produce(topic, *((token, b"%d" % count) for count in range(each) for token in clients))
        start(fleet, broker.address, topic, index=1)
        wait_until(lambda: "assigned shared/" in log(fleet, 1), "the second has some", PATIENCE_S)
        broker.produce(topic, *((token, b"%d" % count) for count in range(each, 2 * each) for token in clients))
        assert fleet.stop_service("kafka-bridge") == 0
        for client in clients.values():
            bodies = [int(client.read_push().body) for _ in range(2 * each)]
            assert bodies == list(range(2 * each))
    finally:
        for client in clients.values():
            client.wire.close()
    wait_for_no_lag(broker, topic, 4)


def test_a_router_that_is_killed_loses_and_overtakes_nothing(broker: "Broker", fleet: Fleet) -> None:
    topic, count = broker.make_topic("killed"), 2000
    start(fleet, broker.address, topic)
    with online(fleet, "carol") as carol:
        broker.produce(topic, *(("carol", b"%d" % number) for number in range(count)))
        seen = [int(carol.read_push().body)]
        fleet.kill_router()
        fleet.start_router()
        while seen[-1] < count - 1:
            seen.append(int(carol.read_push().body))
    assert list(dict.fromkeys(seen)) == list(range(count))
    wait_for_no_lag(broker, topic)


def test_while_no_worker_is_there_a_partition_waits(broker: "Broker", start_fleet: StartFleet) -> None:
    topic = broker.make_topic("waiting")
    fleet = start_fleet(workers=1)
    fleet.stop_worker(0)
    start(fleet, broker.address, topic)
    broker.produce(topic, *(("dave", b"%d" % number, {"to": "all"}) for number in range(3)))
    wait_until(lambda: "assigned waiting/0" in log(fleet), "it reads", PATIENCE_S)
    assert broker.lag(topic, topic) == 3
    fleet.start_worker(0)
    fleet.wait_ready()
    wait_for_no_lag(broker, topic)


def test_a_broker_that_comes_later_and_comes_again(fleet: Fleet) -> None:
    assert not missing()
    broker = Broker()
    start(fleet, broker.address, "late")
    wait_until(lambda: "no broker answers" in log(fleet), "it says that it waits", PATIENCE_S)
    with broker, online(fleet, "erin") as erin:
        broker.make_topic("late")
        broker.produce("late", ("erin", b"first"))
        assert erin.read_push().body == b"first"
        wait_for_no_lag(broker, "late")
        broker.kill()
        broker.start()
        broker.wait_ready()
        broker.produce("late", ("erin", b"second"))
        assert erin.read_push().body == b"second"
        wait_for_no_lag(broker, "late")
        assert fleet.stop_service("kafka-bridge") == 0


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"kafka_topics": ""}, "kafka_topics: names no topic"),
        ({"kafka_brokers": ""}, "kafka_brokers: names no broker"),
        ({"kafka_options_file": "/nowhere"}, "kafka_options_file: /nowhere: no such file"),
    ],
)
def test_settings_that_do_not_do(fleet: Fleet, settings: dict[str, str], complaint: str) -> None:
    bridge = fleet.start_kafka_bridge(**{"kafka_brokers": "127.0.0.1:1", "kafka_topics": "t", **settings})
    assert bridge.wait() == 2
    assert complaint in bridge.log
    del fleet.processes["kafka-bridge"]


def test_events_go_to_a_topic_in_order_and_outlive_a_kill(broker: "Broker", start_fleet: StartFleet) -> None:
    topic = broker.make_topic("events", 4)
    settings = {"kafka_brokers": broker.address, "kafka_events_topic": topic}
    fleet = start_fleet(workers=1, services="presence", **settings)
    tokens = [f"guest-{number}" for number in range(12)]
    for number, token in enumerate(tokens):
        if number == 4:
            fleet.kill_service("events")
        if number == 8:
            fleet.start_events()
        online(fleet, token).wire.close()
    wait_until(lambda: figure(fleet, "waiting") == 0 and figure(fleet, "last") == 2 * len(tokens), "all has gone")
    found: dict[str, list[dict[str, Any]]] = {}
    for record in broker.read(topic, 2 * len(tokens) + figure(fleet, "kafka_repeated")):
        event = json.loads(record.value())
        assert (record.key().decode(), dict(record.headers())["kind"].decode()) == (event["token"], event["kind"])
        found.setdefault(event["token"], []).append(event)
    for token in tokens:
        by_id = list({event["id"]: event for event in found[token]}.values())
        assert [event["kind"] for event in by_id] == ["connected", "disconnected"]
        assert by_id[1]["token_sequence"] == by_id[0]["token_sequence"] + 1
    assert fleet.stop_service("events") == 0
