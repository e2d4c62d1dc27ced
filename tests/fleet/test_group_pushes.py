"""Pushes to groups, users and all on real fleets: once to each worker, and once to each member."""

import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgpack
import pytest

from services.library import Service
from shared import places
from shared.calls import Internal, internal
from tests.clients.conversations import Conversation
from tests.clients.kinds import connect
from tests.clients.senders import OFFLINE, SENT, UNAVAILABLE, RawSender
from tests.fleet.bus_proxy import BusProxy
from tests.fleet.fleet_process import Fleet
from tests.fleet.processes import wait_until

SERVICES = "subscribe,group"
#: Pushed to find out who is known; no client is asked about it.
TRIAL = b"trial"
#: One member in so many is a user's client; the others are in the group by their tokens.
USERS = 5


class Groups:
    """Asks the group service, and pushes."""

    def __init__(self, sender: RawSender, service: Service | None = None) -> None:
        self._sender, self._service = sender, service

    def ask(self, op: str, group: str = "team", **fields: Any) -> dict[str, Any]:
        assert self._service
        asked = {"op": op, "group": group, **fields}
        code, body = self._service.ask(internal(Internal.GROUPS), msgpack.packb(asked), key=group)
        assert code == 0, (code, body)
        return dict(msgpack.unpackb(body))

    def push(self, payload: bytes, target: str = "team", to: str = "group") -> tuple[int, dict[str, Any]]:
        """(outcome, detail)."""
        (outcome,), detail = self._sender.done(self._sender.send_push([(target, payload)], to=to), 20)
        return outcome, detail

    def reaches(self, count: int, target: str = "team", to: str = "group") -> bool:
        _, detail = self.push(TRIAL, target, to)
        return detail["matched"] == count and "unknown_workers" not in detail


@contextmanager
def groups_of(fleet: Fleet) -> Iterator[Groups]:
    service = Service("test", fleet.settings)
    service.start()
    try:
        with RawSender(fleet.endpoint) as sender:
            assert service.wait_ready(20)
            yield Groups(sender, service)
    finally:
        service.stop()


def members(stack: ExitStack, fleet: Fleet, count: int, prefix: str = "m") -> list[Conversation]:
    """Connected clients; every fifth has a uid."""
    clients = []
    for number in range(count):
        client = stack.enter_context(connect(("v2", "ws_snake", "v1")[number % 3], fleet.address))
        client.subscribe(f"{prefix}{number}", **({} if number % USERS else {"uid": f"user-{prefix}{number}"}))
        clients.append(client)
    return clients


def names(count: int, prefix: str = "m") -> dict[str, list[str]]:
    """The same as members of a group."""
    return {
        "tokens": [f"{prefix}{number}" for number in range(count) if number % USERS],
        "uids": [f"user-{prefix}{number}" for number in range(0, count, USERS)],
    }


LAST = b"the last one"


def payloads(client: Conversation) -> list[bytes]:
    """All that it got, up to the last one."""
    found = []
    while not found or found[-1] != LAST:
        found.append(client.read_push().body)
    return [payload for payload in found[:-1] if payload != TRIAL]


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short enough for the paths of sockets."""
    with tempfile.TemporaryDirectory(prefix="pg", dir="/tmp") as path:
        yield Path(path)


def test_one_bus_message_to_each_worker(folder: Path) -> None:
    count, endpoint = 60, f"ipc://{folder}/bus"
    fleet = Fleet(workers=4, services=SERVICES, router_list=endpoint)
    with BusProxy(endpoint, places.bus_endpoint(fleet.settings)) as proxy, fleet, ExitStack() as stack:
        groups = stack.enter_context(groups_of(fleet))
        clients = members(stack, fleet, count)
        other = members(stack, fleet, 1, "x")[0]
        groups.ask("create", **names(count))
        wait_until(lambda: groups.reaches(count), "all are known as members")
        workers = {f"here/{index}" for index in range(4)}
        for payload, to, target, reached in (
            (b"to the group", "group", "team", count),
            (b"to all", "all", "", count + 1),
            (b"to one user", "user", "user-m0", 1),
        ):
            outcome, detail = groups.push(payload, target, to)
            assert (outcome, detail["sent"], detail["matched"]) == (SENT, reached, reached)
            told = {worker: times for (worker, said), times in proxy.fan_outs.items() if said == payload}
            assert told.keys() == workers if to != "user" else len(told) == 1
            assert set(told.values()) == {1}
        assert not proxy.messages
        groups.push(LAST, "", "all")
        for number, client in enumerate(clients):
            assert payloads(client) == [b"to the group", b"to all", *([b"to one user"] if number == 0 else [])]
        assert payloads(other) == [b"to all"]


class Pushing(threading.Thread):
    """Pushes to a group, one after the other, until told to stop. `unknown`: those that a worker may have lost."""

    def __init__(self, groups: Groups) -> None:
        super().__init__(name="pushing to a group")
        self._groups = groups
        self.stopped = threading.Event()
        self.sent: list[bytes] = []
        self.unknown: set[bytes] = set()

    def run(self) -> None:
        while not self.stopped.wait(0.01):
            payload = b"%d" % len(self.sent)
            _, detail = self._groups.push(payload)
            self.sent.append(payload)
            if detail.get("unknown_workers") or detail.get("incomplete"):
                self.unknown.add(payload)

    def pass_through(self, what: Callable[[], object], seconds: float = 60) -> None:
        """Push before it, all the time, and after it."""
        self.start()
        try:
            wait_until(lambda: len(self.sent) > 10, "it pushes")
            what()
            more = len(self.sent) + 20
            wait_until(lambda: len(self.sent) > more, "it goes on", seconds)
        finally:
            self.stopped.set()
            self.join(30)


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    with Fleet(services=SERVICES, workers=4, worker_heartbeat_ms=100) as started:
        yield started


def test_every_worker_restarted_during_pushes(fleet: Fleet) -> None:
    count = 80
    with groups_of(fleet) as groups, groups_of(fleet) as others, ExitStack() as stack:
        clients = members(stack, fleet, count)
        groups.ask("create", **names(count))
        wait_until(lambda: groups.reaches(count), "all are known as members")

        def restart() -> None:
            for index in range(4):
                assert fleet.stop_worker(index) == 0
                fleet.start_worker(index)
                fleet.wait_ready(4)

        pushing = Pushing(others)
        pushing.pass_through(restart)
        groups.push(LAST, "", "all")
        assert not pushing.unknown
        for client in clients:
            assert sorted(payloads(client), key=int) == pushing.sent


def test_workers_killed_during_pushes(fleet: Fleet) -> None:
    """Each member that stays connected gets each push once; who is cut off gets none twice."""
    count = 200
    with groups_of(fleet) as groups, groups_of(fleet) as others, ExitStack() as stack:
        clients = members(stack, fleet, count)
        groups.ask("create", **names(count))
        wait_until(lambda: groups.reaches(count), "all are known as members")

        def kill() -> None:
            for index in (1, 3, 1, 0):
                fleet.kill_worker(index)
                wait_until(lambda: not fleet.missing(4), "it is there again")

        pushing = Pushing(others)
        pushing.pass_through(kill)
        groups.push(LAST, "", "all")
        cut_off = 0
        for client in clients:
            got, stays = [], True
            while stays and (not got or got[-1] != LAST):
                try:
                    got.append(client.read_push().body)
                except EOFError:
                    cut_off, stays = cut_off + 1, False
            assert set(Counter(payload for payload in got if payload != TRIAL).values()) == {1}
            if stays:
                assert [payload for payload in got[:-1] if payload != TRIAL] == pushing.sent
        assert cut_off <= 4  # at most who was being written to
        assert len(pushing.unknown) <= 4


def test_who_joins_and_who_leaves_right_before_a_push(fleet: Fleet) -> None:
    with groups_of(fleet) as groups, ExitStack() as stack:
        clients = members(stack, fleet, 10)
        groups.ask("create")
        wait_until(lambda: groups.reaches(0), "the workers know who is there")
        for number in range(10):
            which = {"tokens": [f"m{number}"]} if number % USERS else {"uids": [f"user-m{number}"]}
            groups.ask("join", **which)
            assert groups.push(b"%d" % number)[1]["matched"] == number + 1
        for number in range(10):
            which = {"tokens": [f"m{number}"]} if number % USERS else {"uids": [f"user-m{number}"]}
            groups.ask("leave", **which)
            assert groups.push(b"%d" % (10 + number))[1]["matched"] == 9 - number
        groups.push(LAST, "", "all")
        for number, client in enumerate(clients):
            assert payloads(client) == [b"%d" % one for one in range(number, 10 + number)]


def test_a_member_by_token_and_by_uid_leaves_by_one_of_them(fleet: Fleet) -> None:
    with groups_of(fleet) as groups, ExitStack() as stack:
        (client,) = members(stack, fleet, 1)
        groups.ask("create", tokens=["m0"], uids=["user-m0"])
        wait_until(lambda: groups.reaches(1), "it is known")
        groups.ask("leave", tokens=["m0"])
        assert groups.push(b"still by its uid")[1]["matched"] == 1
        groups.ask("leave", uids=["user-m0"])
        assert groups.push(b"no more")[0] == OFFLINE
        groups.push(LAST, "", "all")
        assert payloads(client) == [b"still by its uid"]


def test_members_that_are_away_and_groups_that_there_are_not(fleet: Fleet) -> None:
    with groups_of(fleet) as groups, ExitStack() as stack:
        groups.ask("create", tokens=["nobody"], uids=["no-user"])
        wait_until(lambda: groups.reaches(0), "the workers know who is there")
        outcome, detail = groups.push(b"x")
        assert (outcome, detail["matched"], "exists" in detail) == (OFFLINE, 0, False)
        assert groups.push(b"x", "no-group")[1]["exists"] is False
        assert groups.push(b"x", "no-user", "user")[0] == OFFLINE
        late = stack.enter_context(connect("v2", fleet.address))
        late.subscribe("nobody")
        wait_until(lambda: groups.reaches(1), "it has come")
        groups.ask("dismiss")
        assert groups.push(b"to a dismissed group")[1]["exists"] is False
        groups.push(LAST, "", "all")
        assert payloads(late) == []


def test_a_group_dismissed_during_pushes(fleet: Fleet) -> None:
    """What was answered before it is dismissed has come to all, what is asked for afterwards to none."""
    count = 40
    with groups_of(fleet) as groups, groups_of(fleet) as others, ExitStack() as stack:
        clients = members(stack, fleet, count)
        groups.ask("create", **names(count))
        wait_until(lambda: groups.reaches(count), "all are known as members")
        before: list[int] = []
        pushing = Pushing(others)

        def dismiss() -> None:
            before.append(len(pushing.sent))
            groups.ask("dismiss")
            before.append(len(pushing.sent))

        pushing.pass_through(dismiss)
        groups.push(LAST, "", "all")
        for client in clients:
            got = [int(payload) for payload in payloads(client)]
            assert got == list(range(len(got)))
            assert before[0] <= len(got) <= before[1] + 1  # one may be on its way meanwhile


def test_a_router_restarted(fleet: Fleet) -> None:
    count = 20
    with groups_of(fleet) as groups, ExitStack() as stack:
        clients = members(stack, fleet, count)
        groups.ask("create", **names(count))
        wait_until(lambda: groups.reaches(count), "all are known as members")
        fleet.kill_router()
        fleet.start_router()
        fleet.wait_ready()
        with groups_of(fleet) as again:
            wait_until(lambda: again.reaches(count), "all are known again")
            assert again.push(b"again")[1]["sent"] == count
            assert again.push(b"user", "user-m0", "user")[1]["sent"] == 1
            again.push(LAST, "", "all")
        for number, client in enumerate(clients):
            assert payloads(client) == [b"again", *([b"user"] if number == 0 else [])]


def test_without_the_group_service(fleet: Fleet) -> None:
    """Who was known is reached; who comes meanwhile is found out about when the service is back."""
    with groups_of(fleet) as groups, ExitStack() as stack:
        clients = members(stack, fleet, 4)
        groups.ask("create", tokens=["m1", "late"])
        wait_until(lambda: groups.reaches(1), "it is known as a member")
        fleet.kill_service("group")
        assert groups.push(b"without")[0] == SENT
        late = stack.enter_context(connect("v2", fleet.address))
        late.subscribe("late")
        fleet.start_service("group")
        fleet.wait_ready()
        wait_until(lambda: groups.reaches(2), "both are known")
        groups.push(LAST, "", "all")
        assert payloads(clients[1]) == [b"without"]


def test_two_group_services(fleet: Fleet) -> None:
    """Either may be killed: whoever is left tells of joins, and is asked about who comes."""
    with groups_of(fleet) as groups, ExitStack() as stack:
        (client,) = members(stack, fleet, 1, "late")
        fleet.start_service("group", 1)
        groups.ask("create")
        wait_until(lambda: groups.reaches(0), "the workers know who is there")
        for index in (0, 1):
            fleet.kill_service("group", index)
            groups.ask("join", uids=["user-late0"])
            assert groups.push(b"in %d" % index)[1]["matched"] == 1
            fleet.start_service("group", index)
            wait_until(lambda: groups.reaches(1), "it is known again")
            groups.ask("leave", uids=["user-late0"])
            assert groups.push(b"out")[1]["matched"] == 0
            with connect("v2", fleet.address) as other:
                other.subscribe(f"other{index}")
                groups.ask("join", tokens=[f"other{index}"])
                assert groups.push(b"to another %d" % index)[1]["matched"] == 1
            groups.ask("leave", tokens=[f"other{index}"])
        groups.push(LAST, "", "all")
        assert payloads(client) == [b"in 0", b"in 1"]


def test_a_fleet_that_has_no_group_service() -> None:
    with Fleet(services="", worker_heartbeat_ms=100) as fleet, RawSender(fleet.endpoint) as sender:
        groups = Groups(sender)
        with connect("v2", fleet.address) as client:
            client.subscribe("t", uid="u")
            wait_until(lambda: groups.reaches(1, "u", "user"), "the router knows its user")
            assert groups.push(b"to its user", "u", "user")[0] == SENT

            def cannot() -> bool:
                outcome, detail = groups.push(b"x")
                return outcome == UNAVAILABLE and detail["incomplete"] is True

            wait_until(cannot, "nobody can tell")
            groups.push(LAST, "", "all")
            assert payloads(client) == [b"to its user"]
