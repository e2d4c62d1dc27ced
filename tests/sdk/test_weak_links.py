"""Links that are cut, frozen, or lead nowhere: every SDK's client finds it, comes back, and gets each push once."""

from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

from services.sender import Outcome, Sender
from tests.fleet.fleet_process import Fleet
from tests.sdk.listening import KINDS, Listener, every_kind
from tests.sdk.weak_links import WeakLink

KEPT = (Outcome.SENT, Outcome.BUFFERED, Outcome.ACKED, Outcome.STORED)
QUICK = {"backoff_s": 0.05, "backoff_max_s": 0.1, "request_timeout_s": 0.5}


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    with Fleet(services="message-cache", workers=1, retry_after_ms=700) as started:
        yield started


@pytest.fixture
def link(fleet: Fleet) -> Iterator[WeakLink]:
    with WeakLink(fleet.address) as opened:
        yield opened


@pytest.fixture
def sdk(kind: str, request: pytest.FixtureRequest) -> Path | None:
    return request.getfixturevalue("javascript_sdk") if kind == "node" else None


def push(fleet: Fleet, token: str, *texts: str) -> None:
    """Such as are kept until they are acknowledged."""
    with Sender(fleet.endpoint) as sender:
        for text in texts:
            assert sender.push(token, text, ttl=600) in KEPT


@every_kind
def test_a_link_that_is_cut(fleet: Fleet, link: WeakLink, kind: str, sdk: Path | None) -> None:
    token = f"cut-{kind}"
    with Listener(kind, sdk, link.address, token=token, **QUICK) as client:
        client.wait_state("connected")
        push(fleet, token, "1")
        assert client.take(1) == ["1"]
        for number in range(2, 5):
            link.cut()
            push(fleet, token, str(number))
            client.wait_state("waiting")
            client.wait_state("connected")
            assert client.take(1) == [str(number)]
        push(fleet, token, "last")
        assert client.take(1) == ["last"]
        assert len(link.came) == 4


@every_kind
def test_a_link_that_is_frozen_is_found_by_the_heartbeat_alone(
    fleet: Fleet, link: WeakLink, kind: str, sdk: Path | None
) -> None:
    token = f"frozen-{kind}"
    with Listener(kind, sdk, link.address, token=token, interval_s=0.2, answer_timeout_s=0.5, **QUICK) as client:
        client.wait_state("connected")
        push(fleet, token, "before")
        assert client.take(1) == ["before"]
        link.freeze()
        push(fleet, token, "while nobody knows")
        client.publish("GQ")
        assert client.wait_for(lambda said: "failed" in said)["failed"] in (
            "RequestTimeoutError",
            "ConnectionLostError",
        )
        if not any(said.get("reason") == "silent" for said in client.told):
            client.wait_state("waiting", "silent")
        client.wait_state("connected")
        push(fleet, token, "behind it")
        assert client.take(2) == ["while nobody knows", "behind it"]


@every_kind
def test_a_gateway_that_never_answers_costs_a_time_out_and_requests_theirs(
    fleet: Fleet, link: WeakLink, kind: str, sdk: Path | None
) -> None:
    link.refuses_to_carry = True
    with Listener(kind, sdk, link.address, token=f"mute-{kind}", connect_timeout_s=1.0, **QUICK) as client:
        client.publish("GQ")
        assert client.wait_for(lambda said: "failed" in said)["failed"] == "RequestTimeoutError"
        client.wait_state("waiting", "connect_timeout")
        link.refuses_to_carry = False
        client.wait_state("connected")
        client.publish("GQ")  # no service has this topic
        assert client.wait_for(lambda said: "failed" in said)["failed"] == "NotAvailableError"


def test_clients_come_back_just_when_the_gateway_said(fleet: Fleet, request: pytest.FixtureRequest) -> None:
    """The only worker leaves: each client is told another time."""
    links = {kind: WeakLink(fleet.address) for kind in KINDS}
    sdks = {kind: request.getfixturevalue("javascript_sdk") if kind == "node" else None for kind in KINDS}
    clients = {}
    try:
        for kind, link in links.items():
            link.__enter__()
            clients[kind] = Listener(kind, sdks[kind], link.address, token=f"sent-{kind}", **QUICK)
            clients[kind].wait_state("connected")
        leaves_at = monotonic()
        assert fleet.stop_worker(0) == 0
        fleet.start_worker(0)
        for kind, client in clients.items():
            said = client.wait_state("waiting")
            after_s = links[kind].retry_after_s()
            assert said["pause_s"] == pytest.approx(after_s)
            client.wait_state("connected")
            assert links[kind].came[1] - leaves_at >= after_s - 0.01
    finally:
        for client in clients.values():
            client.__exit__(None, None, None)
        for link in links.values():
            link.__exit__(None, None, None)
