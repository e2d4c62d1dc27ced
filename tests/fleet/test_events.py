"""Events of a real fleet at a real receiver, which is slow, fails, is gone, and answers late."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from services.sender import Sender
from services.storage.events import KINDS
from shared.outcomes import Outcome
from tests.clients.kinds import connect
from tests.clients.webhook_receiver import Receiver, receiving
from tests.fleet.fleet_process import Fleet
from tests.fleet.presence_watchers import hear, watching
from tests.fleet.processes import wait_until

SECRET = "0123456789abcdef0123456789abcdef"
SERVICES = "subscribe,presence,message-cache"


class Events(NamedTuple):
    """A fleet and who gets its events."""

    fleet: Fleet
    receiver: Receiver

    def of(self, token: str) -> list[dict[str, Any]]:
        """All that came of a token, each once."""
        return list({event["id"]: event for event in self.receiver.events() if event["token"] == token}.values())

    def kinds(self, token: str) -> list[str]:
        return [event["kind"] for event in self.of(token)]

    def are_confirmed(self) -> bool:
        """Whether the outbox has none, as STAT1 says, and has had all that came."""
        services = self.fleet.stat()["services"]
        figures = next(said["figures"] for name, said in services.items() if name.startswith("events/"))
        numbers = [event["number"] for event in self.receiver.events()]
        return bool(figures["last"] >= max(numbers) and not figures["waiting"])


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Events]:
    directory = tmp_path_factory.mktemp("events")
    (directory / "secret").write_text(SECRET)
    (directory / "secret").chmod(0o600)
    with receiving(SECRET.encode(), directory / "log") as receiver:
        settings = {"event_webhook_url": receiver.url, "event_webhook_secret_file": str(directory / "secret")}
        settings |= {"event_webhook_timeout_s": 1, "worker_heartbeat_ms": 100, "service_heartbeat_ms": 100}
        with Fleet(services=SERVICES, workers=1, **settings) as fleet:
            yield Events(fleet, receiver)


def come_and_go(events: Events, *tokens: str) -> None:
    for token in tokens:
        with connect("v2", events.fleet.address) as client:
            client.subscribe(token)


def test_who_comes_and_goes(events: Events) -> None:
    come_and_go(events, "anna")
    wait_until(lambda: "disconnected" in events.kinds("anna"), "she has gone")
    came, went = (one for one in events.of("anna") if one["kind"].endswith("connected"))
    assert (came["kind"], came["protocol"], came["uid"]) == ("connected", "v2", None)
    assert (went["kind"], went["reason"], went["since"]) == ("disconnected", "peer_closed", came["since"])
    assert 0 <= went["duration_ms"] == went["at"] - went["since"] < 20_000
    assert went["token_sequence"] == came["token_sequence"] + 1
    assert events.receiver.forged == 0


def test_what_becomes_of_pushes(events: Events) -> None:
    with Sender(events.fleet.endpoint) as sender, watching(events.fleet) as watcher:
        hear(events.fleet, watcher)
        assert sender.push("dora", b"lost", request_id="order-1") == Outcome.OFFLINE
        assert sender.push("dora", b"kept", ttl=600, request_id="order-2") == Outcome.STORED
        assert sender.push("dora", b"short", ttl=1, collapse="x", request_id="order-3") == Outcome.STORED
        wait_until(lambda: events.kinds("dora").count("expired") == 1, "the short one has expired")
        with connect("v2", events.fleet.address) as client:
            client.subscribe("dora", ack=True)
            packet = client.read_push()
            assert packet.body == b"kept"
            client.acknowledge(packet.message_id)
            wait_until(lambda: "acknowledged" in events.kinds("dora"), "it is acknowledged")
        wait_until(lambda: "disconnected" in events.kinds("dora"), "it has gone")
        told = {event["kind"]: event for event in events.of("dora")}
        assert sorted(events.kinds("dora")) == sorted([*KINDS, "unreached", "unreached"])
        unreached = [event for event in events.of("dora") if event["kind"] == "unreached"]
        assert [event["stored"] for event in unreached] in ([False, True, True], [True, False, True])
        requests = {(event["kind"], event["request_id"]) for event in events.of("dora") if "push_id" in event}
        assert requests == {
            *[("unreached", f"order-{number}") for number in (1, 2, 3)],
            ("acknowledged", "order-2"),
            ("expired", "order-3"),
        }
        kept = {event["push_id"] for event in unreached if event["stored"]}
        assert kept == {told["acknowledged"]["push_id"], told["expired"]["push_id"]}
        assert (told["subscribed"]["protocol"], told["subscribed"]["made"]) == ("v2", False)
        for series in (("connected", "disconnected"), ("subscribed", "unreached", "expired", "acknowledged")):
            numbers = [event["token_sequence"] for event in events.of("dora") if event["kind"] in series]
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        # and the same on the stream
        wait_until(lambda: len(watcher.read("dora")) == len(events.of("dora")), "the stream has them")
        by_id = {event["id"]: event for event in watcher.events}
        assert all(
            event.items() - {("number", event["number"])} <= by_id[event["id"]].items() for event in told.values()
        )


@pytest.mark.parametrize("mode", ["fail", "redirect"])
def test_receiver_that_fails_gets_all_later_in_order(events: Events, mode: str) -> None:
    tokens = [f"{mode}-{number}" for number in range(5)]
    posts = events.receiver.posts
    events.receiver.mode = mode
    come_and_go(events, *tokens)
    wait_until(lambda: events.receiver.posts >= posts + 2, "it has failed twice")
    events.receiver.mode = "take"
    wait_until(lambda: all("disconnected" in events.kinds(token) for token in tokens), "all came")
    numbers = [event["number"] for event in events.receiver.events()]
    assert list(dict.fromkeys(numbers)) == sorted(set(numbers))
    assert events.receiver.most_under_way == 1


def test_late_answer_leads_to_one_repeat(events: Events) -> None:
    before = len(events.receiver.events())
    events.receiver.mode, events.receiver.seconds = "late", 1.5  # it has 1 s
    come_and_go(events, "late")
    wait_until(lambda: "disconnected" in events.kinds("late"), "all came")
    wait_until(events.are_confirmed, "it is taken")
    events.receiver.mode = "take"
    ids = [event["id"] for event in events.receiver.events()[before:]]
    assert max(map(ids.count, ids)) == 2
    come_and_go(events, "quick")
    wait_until(lambda: "disconnected" in events.kinds("quick"), "it goes on")


def test_events_outlive_the_service_and_the_receiver(events: Events) -> None:
    events.receiver.mode = "fail"
    come_and_go(events, "bert")
    events.fleet.kill_service("events")
    come_and_go(events, "carl")
    events.fleet.start_events()
    events.receiver.mode = "take"
    wait_until(lambda: "disconnected" in events.kinds("carl"), "all came")
    for token in ("bert", "carl"):
        assert [kind for kind in events.kinds(token) if kind.endswith("connected")] == ["connected", "disconnected"]


def test_secrets_are_not_logged(events: Events) -> None:
    assert SECRET not in events.fleet.logs(10_000)
    assert "in-the-query" not in events.fleet.logs(10_000)
    assert events.fleet.stop_service("events") == 0


def test_bad_settings_stop_it(events: Events, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    for settings, fault in (
        ({"event_webhook_secret_file": tmp_path / "none"}, "event_webhook_secret_file"),
        ({"event_kinds": "connected,come"}, "event_kinds: 'come' is none of connected"),
    ):
        process = events.fleet.start_events(**{"event_webhook_secret_file": secret, "data_dir": tmp_path, **settings})
        assert process.wait() == 2
        assert fault in process.log
    events.fleet.start_events()
