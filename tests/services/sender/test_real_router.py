"""The sender library against a real router process, with a worker of the test behind it."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

import services.sender.gevent
from services.sender import CurveKeys, Outcome, Sender, SenderError
from shared import places
from shared.keys import ADMIN, PUSH, KeyPair, format_key_pair, format_permitted
from shared.push_ids import id_prefix
from tests.fleet.fleet_process import Fleet
from tests.fleet.processes import wait_until
from tests.services.sender.worker_socket import Arrival, WorkerSocket

KINDS = [Sender, services.sender.gevent.Sender]


class Routed:
    """A router process and a worker of the test."""

    def __init__(self, **settings: Any) -> None:
        self.fleet = Fleet(workers=1, ring_settle_ms=0, **settings)
        self.fleet.start_router()
        self.worker = self.start_worker()
        if "curve_server_key_file" in settings:
            return  # only a permitted key could ask
        try:
            wait_until(lambda: self.fleet.missing(workers=1) == "no worker answers on the client port", "a worker")
        except BaseException:
            self.close()
            raise

    def start_worker(self) -> WorkerSocket:
        bus, name = places.bus_endpoint(self.fleet.settings), places.worker_name(self.fleet.settings, 0)
        return WorkerSocket(bus, name)

    def close(self) -> None:
        self.worker.close()
        self.fleet.stop()


@pytest.fixture
def routed(request: pytest.FixtureRequest) -> Iterator[Routed]:
    started = Routed(**getattr(request, "param", {}))
    try:
        yield started
    finally:
        started.close()


class Holder:
    """What a holder does with copies: each push is delivered once, and a copy gets the first outcome."""

    def __init__(self, fate: Any = lambda: Outcome.SENT) -> None:
        self.delivered: dict[bytes, list[bytes]] = {}
        self._seen: set[tuple[bytes, int]] = set()
        self._fate = fate

    def decide(self, arrival: Arrival) -> Outcome:
        outcome: Outcome = self._fate()
        if arrival.copy_of not in self._seen and outcome in (Outcome.SENT, Outcome.UNKNOWN):
            self._seen.add(arrival.copy_of)
            self.delivered.setdefault(arrival.token, []).append(arrival.payload)
        return outcome

    def check(self, pushes: list[tuple[str, str]]) -> None:
        """Every push once, in order per token."""
        expected: dict[bytes, list[bytes]] = {}
        for token, payload in pushes:
            expected.setdefault(token.encode(), []).append(payload.encode())
        assert self.delivered == expected


def make_pushes(count: int, tokens: int) -> list[tuple[str, str]]:
    chance = random.Random(1)
    return [(f"t{chance.randrange(tokens)}", str(number)) for number in range(count)]


@pytest.mark.parametrize("kind", KINDS)
def test_pushes_arrive_once_in_order_with_their_ids(routed: Routed, kind: Any):
    holder, pushes = Holder(), make_pushes(5000, 300)
    routed.worker.decide = holder.decide
    with kind(routed.fleet.endpoint, name="billing") as sender:
        assert set(sender.push_many(pushes)) == {Outcome.SENT}
        assert sender.find(["t1"]) == [{"online": False}]
        assert sender.kick(["t1"]) == [False]
        assert sender.stat()["router"]["live"] == 1
    holder.check(pushes)
    key = sender._protocol._key_prefix.encode() + b"-1"
    assert routed.worker.arrivals[0].copy_of == (id_prefix(b"billing", key), 0)


def test_every_outcome_comes_back(routed: Routed):
    told = [outcome for outcome in Outcome if outcome not in (Outcome.UNAVAILABLE, Outcome.UNKNOWN)]
    routed.worker.decide = lambda arrival: Outcome(int(arrival.payload))
    with Sender(routed.fleet.endpoint) as sender:
        assert list(sender.push_many([(outcome.name, str(int(outcome))) for outcome in told])) == told


def test_order_per_token_survives_repeats(routed: Routed):
    chance = random.Random(2)
    fates = [Outcome.SENT] * 6 + [Outcome.UNKNOWN, Outcome.UNAVAILABLE]
    holder, pushes = Holder(lambda: chance.choice(fates)), make_pushes(2000, 100)
    routed.worker.decide = holder.decide
    with Sender(routed.fleet.endpoint, retries=100, backoff_s=0.001, backoff_max_s=0.01) as sender:
        assert set(sender.push_many(pushes)) == {Outcome.SENT}
        assert sender.statistics.repeated > 0
    holder.check(pushes)


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_router_costs_nothing(routed: Routed, kind: Any):
    holder, pushes = Holder(), make_pushes(6000, 500)
    routed.worker.decide = holder.decide

    def with_a_death() -> Iterator[tuple[str, str]]:
        for number, push in enumerate(pushes):
            if number == 3000:
                routed.fleet.kill_router()
                routed.fleet.start_router()
            yield push

    with kind(routed.fleet.endpoint, queue_pushes=1000) as sender:
        assert set(sender.push_many(with_a_death())) == {Outcome.SENT}
        assert sender.statistics.routers_lost == 1
    holder.check(pushes)


@pytest.mark.parametrize("routed", [{"pending_requests_max": 4}], indirect=True)
def test_a_router_that_turns_away_gets_it_again_in_order(routed: Routed):
    holder, pushes = Holder(), make_pushes(600, 600)
    routed.worker.decide = holder.decide
    with Sender(routed.fleet.endpoint, window=16, batch_pushes=10) as sender:
        assert set(sender.push_many(pushes)) == {Outcome.SENT}
        assert sender.statistics.turned_away > 0
    holder.check(pushes)


def test_no_worker_is_unavailable(routed: Routed):
    with Sender(routed.fleet.endpoint, retries=0) as sender:
        assert sender.push("a", "x") is Outcome.SENT
        routed.worker.close()
        outcomes = {sender.push("a", "x", timeout_ms=500) for _ in range(3)}
        assert outcomes <= {Outcome.UNAVAILABLE, Outcome.UNKNOWN}
        routed.worker = routed.start_worker()


def test_who_is_away_is_not_known_without_a_service(routed: Routed):
    with Sender(routed.fleet.endpoint, retries=0) as sender:
        assert sender.push_all("x", ttl=60)[0] is Outcome.UNAVAILABLE


def test_bad_targets_are_refused_alone(routed: Routed):
    def refuse_bad(arrival: Arrival) -> Outcome:
        return Outcome.SENT if arrival.token.isalpha() else Outcome.REFUSED

    routed.worker.decide = refuse_bad
    with Sender(routed.fleet.endpoint, retries=0) as sender:
        outcomes = list(
            sender.push_many([("good", "x"), ("", "x"), ("\ud800", "x"), ("t" * 70_000, "x"), ("fine", "x")])
        )
    assert outcomes[0] is outcomes[4] is Outcome.SENT
    assert outcomes[1] is outcomes[2] is Outcome.REFUSED
    assert len(outcomes) == 5


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, tuple[bytes, bytes]]:
    """Key pairs by scope, and the files of a router that permits two of them."""
    pairs = {name: zmq.curve_keypair() for name in ("router", "push", "admin", "stranger")}
    router = KeyPair(*[key.decode() for key in pairs["router"]])
    (tmp_path / "router.key").write_text(format_key_pair(router))
    (tmp_path / "router.key").chmod(0o600)
    permitted = {pairs["push"][0].decode(): frozenset({PUSH}), pairs["admin"][0].decode(): frozenset({ADMIN})}
    (tmp_path / "permitted.json").write_text(format_permitted(permitted))
    return pairs


def test_only_permitted_keys_get_in(keys: dict[str, tuple[bytes, bytes]], tmp_path: Path):
    routed = Routed(curve_server_key_file=tmp_path / "router.key", curve_permitted_file=tmp_path / "permitted.json")
    endpoint, server = routed.fleet.endpoint, keys["router"][0]
    try:
        with Sender(endpoint, curve=CurveKeys(server, *keys["push"])) as sender:
            assert sender.push("a", "x") is Outcome.SENT
            with pytest.raises(SenderError, match="not_allowed"):
                sender.kick(["a"])
        with Sender(endpoint, curve=CurveKeys(server, *keys["admin"])) as sender:
            assert sender.kick(["a"]) == [False]
            with pytest.raises(SenderError, match="not_allowed"):
                sender.push("a", "x")
        stranger = CurveKeys(server, *keys["stranger"])
        with Sender(endpoint, curve=stranger) as sender, pytest.raises(SenderError, match="does not permit this key"):
            sender.wait_ready(0.5)
    finally:
        routed.close()


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_id_again_pushes_nothing_twice(routed: Routed, kind: Any):
    routed.worker.decide = Holder().decide
    pairs = [("t1", "x"), ("t2", "y")]
    for _ in range(2):
        with kind(routed.fleet.endpoint, name="billing") as sender:
            tickets = sender.push_request(pairs, id="order-7")
            assert [ticket.result(10) for ticket in tickets] == [Outcome.SENT] * 2
            (other,) = sender.push_request([("t1", "other")], id="order-7")
            with pytest.raises(SenderError, match="id_reused"):
                other.result(10)
    arrived = [arrival.payload for arrival in routed.worker.arrivals]
    assert sorted(arrived) == [b"x", b"y"]
