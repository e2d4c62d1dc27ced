"""Workers, guardians and routers die or stand still: what becomes of clients and pushes."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from tests.clients.kinds import KINDS, connect
from tests.clients.packets import PING
from tests.clients.senders import BUFFERED, SENT, UNAVAILABLE, UNKNOWN, RawSender
from tests.fleet.conftest import StartFleet
from tests.fleet.fleet_process import Fleet
from tests.fleet.observations import close_lines, counters
from tests.fleet.processes import wait_until
from tests.fleet.steady_load import DELIVERED, steady_load
from tests.fleet.test_membership import expect_back, find_workers, owned_by


def wait_until_idle(fleet: Fleet, index: int = 0) -> int:
    """Until a worker waits for something to do, so that it serves nobody just then; its pid."""
    pid = fleet.worker_pid(index)
    wait_until(lambda: state_of(pid) == "S", "idle worker")
    return pid


def state_of(pid: int) -> str:
    """R, S, T ... as in /proc/PID/stat."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def kill_and_wait(fleet: Fleet, index: int = 0) -> None:
    """SIGKILL to a worker, until the next one is in the ring: what is pushed before then may be UNKNOWN."""
    if state_of(fleet.worker_pid(index)) != "T":
        wait_until_idle(fleet, index)
    fleet.kill_worker(index)
    wait_until(lambda: is_in_ring(fleet, index), "the next worker")


def is_in_ring(fleet: Fleet, index: int) -> bool:
    """Whether the router knows the worker that there is now."""
    worker = fleet.stat()["workers"][f"here/{index}"]
    return bool(worker["state"] == "live" and worker["pid"] == fleet.worker_pid(index))


def test_worker_killed_under_load(start_fleet: StartFleet) -> None:
    """Clients stay and are served again; UNKNOWN only for what was under way; nobody else notices anything."""
    fleet = start_fleet(workers=2, worker_heartbeat_ms=100)
    with steady_load(fleet) as load:
        load.pings(0.3)
        holders = find_workers(fleet, [client.token for client in load.clients])
        fleet.kill_worker(0)
        fleet.wait_ready(2)
        load.pings(0.3)
        load.stop()
        ended = 0
        for client, holder in zip(load.clients, holders, strict=True):
            outcomes = [load.outcomes[number] for number in load.sent_to[client.token]]
            assert set(outcomes) <= {*DELIVERED, UNKNOWN}
            assert holder == "here/0" or UNKNOWN not in outcomes
            sure = [number for number in load.sent_to[client.token] if load.outcomes[number] in DELIVERED]
            try:
                while client.pushes.count(sure[-1]) == 0 or len(client.answers) < client.asked:
                    client.read(client.conversation.read())
                assert client.conversation.ping(30) == 30
            except (EOFError, ConnectionError):
                ended += 1
                continue
            assert client.pushes == sorted(set(client.pushes))
            assert set(sure) <= set(client.pushes)
        assert ended <= counters(fleet)["close_worker_lost"] <= 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_client_of_every_kind_outlives_its_worker(start_fleet: StartFleet, kind: str) -> None:
    fleet = start_fleet(workers=1)
    with connect(kind, fleet.address) as client, RawSender(fleet.endpoint) as sender:
        client.subscribe("survivor")
        assert client.ping(40) == 40
        for number in range(3):
            kill_and_wait(fleet)
            assert sender.push("survivor", b"%d" % number, timeout_ms=20_000) == SENT
            assert client.read_push().body == b"%d" % number
            assert client.ping(40) == 40
            time.sleep(2.1)  # five deaths within ten seconds would be too many


def test_message_ids_and_options_outlive_the_worker(start_fleet: StartFleet) -> None:
    fleet = start_fleet(workers=1)
    with connect("v2", fleet.address) as client, RawSender(fleet.endpoint) as sender:
        client.subscribe("acks", ack=True, accept=["deflate"])
        assert sender.push("acks", b"1") == SENT
        assert client.read_push().message_id == 1
        assert client.ping(30) == 30
        kill_and_wait(fleet)
        assert sender.push("acks", b"x" * 1000, timeout_ms=20_000) == SENT
        push = client.read_push()
        assert push.message_id == 2
        assert push.compressed


def test_the_middle_of_a_packet_is_a_mark(start_fleet: StartFleet) -> None:
    """What the dead worker had read of an unfinished packet is gone: that client is closed, and counted."""
    fleet = start_fleet(workers=1)
    with connect("v2", fleet.address) as half, connect("v2", fleet.address) as whole:
        half.subscribe("half")
        whole.subscribe("whole")
        assert half.ping(30) == whole.ping(30) == 30
        half.wire.write(b"\xf8\x02\x03\x00\x00")
        time.sleep(0.2)
        fleet.kill_worker(0)
        assert half.wire.read_to_end() == b""
        assert whole.ping(30) == 30
    wait_until(lambda: counters(fleet)["close_worker_lost"] == 1, "it is counted")
    wait_until(lambda: close_lines(fleet, "worker_lost"), "its log line")
    (line,) = close_lines(fleet, "worker_lost")
    assert " token=half " in line
    assert line.endswith(' detail="unfinished input"')


def test_unread_input_waits_for_the_next_worker(start_fleet: StartFleet) -> None:
    """What the dead worker has not read is still in the socket."""
    fleet = start_fleet(workers=1)
    with connect("v2", fleet.address) as client:
        client.subscribe("patient")
        assert client.ping(30) == 30
        os.kill(wait_until_idle(fleet), signal.SIGSTOP)
        client.send(PING, {"interval": 50})
        fleet.kill_worker(0)
        answer = client.read()
        assert (answer.signal, json.loads(answer.body)) == (PING, {"interval": 50})


def test_killed_while_a_batch_is_with_it(start_fleet: StartFleet) -> None:
    """A push that a stopped worker has when it is killed is UNKNOWN, and its request is answered."""
    fleet = start_fleet(workers=2, worker_timeout_ms=60_000)
    token, other = owned_by(0), owned_by(1)
    with connect("v2", fleet.address) as client, connect("v2", fleet.address) as bystander:
        client.subscribe(token)
        bystander.subscribe(other)
        assert client.ping(30) == 30
        with RawSender(fleet.endpoint) as sender:
            os.kill(wait_until_idle(fleet), signal.SIGSTOP)
            request = sender.send_push([(token, b"1"), (other, b"2"), (token, b"3")], timeout_ms=60_000)
            assert bystander.read_push().body == b"2"
            assert sender.silent_for(0.2)
            kill_and_wait(fleet)
            assert sender.done(request)[0] == bytes([UNKNOWN, SENT, UNKNOWN])
            assert sender.push(token, b"4", timeout_ms=20_000) == SENT
            assert client.read_push().body == b"4"


def test_worker_that_stands_still_is_killed_before_its_clients_are_served(start_fleet: StartFleet) -> None:
    fleet = start_fleet(workers=2, worker_heartbeat_ms=100, worker_timeout_ms=1000)
    token = owned_by(0)
    with connect("v2", fleet.address) as client, RawSender(fleet.endpoint) as sender:
        client.subscribe(token)
        assert client.ping(30) == 30
        pid = wait_until_idle(fleet)
        os.kill(pid, signal.SIGSTOP)
        assert sender.push(token, b"under way", timeout_ms=30_000) == UNKNOWN
        assert sender.push(token, b"next", timeout_ms=30_000) == SENT
        with pytest.raises(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
        assert client.read_push().body == b"next"
        assert client.ping(30) == 30


def test_a_worker_that_leaves_as_soon_as_it_has_started(start_fleet: StartFleet) -> None:
    """Killed, and told to leave before the next one has heard of a ring: its clients go to the other all the same."""
    fleet = start_fleet(workers=2)
    token = owned_by(0)
    with connect("v2", fleet.address) as client, RawSender(fleet.endpoint) as sender:
        client.subscribe(token)
        assert client.ping(30) == 30
        wait_until_idle(fleet)
        os.kill(fleet.worker_pid(0), signal.SIGKILL)
        fleet.processes["gateway-0"].send(signal.SIGTERM)
        assert fleet.processes["gateway-0"].wait() == 0
        assert sender.push(token, b"x", timeout_ms=20_000) in (SENT, BUFFERED)
        assert client.read_push().body == b"x"
        assert client.ping(30) == 30


def test_guardian_killed(start_fleet: StartFleet) -> None:
    """Its worker gives its clients away and ends; a new one, started meanwhile, waits for that."""
    fleet = start_fleet(workers=2, worker_heartbeat_ms=100)
    token = owned_by(0)
    with connect("v2", fleet.address) as client, RawSender(fleet.endpoint) as sender:
        client.subscribe(token)
        os.kill(fleet.guardian_pid(0), signal.SIGKILL)
        fleet.start_worker(0)
        wait_until(lambda: "the guardian of worker here/0 has died" in fleet.log("gateway-0"), "notice")
        fleet.wait_ready(2)
        assert sender.push(token, b"1", timeout_ms=20_000) in (SENT, BUFFERED)
        assert client.read_push().body == b"1"
        assert client.ping(30) == 30
    assert counters(fleet)["close_worker_lost"] == 0


def test_guardian_and_worker_killed(start_fleet: StartFleet) -> None:
    """Nobody holds the sockets: the clients see the end at once, and are served when they come again."""
    fleet = start_fleet(workers=2, worker_heartbeat_ms=100, worker_timeout_ms=1000)
    token = owned_by(0)
    with connect("v2", fleet.address) as client, RawSender(fleet.endpoint) as sender:
        client.subscribe(token)
        assert client.ping(30) == 30
        wait_until_idle(fleet, 1)  # it has let go of a client that landed there
        os.kill(fleet.worker_pid(0), signal.SIGSTOP)  # it must not notice its guardian's death first
        fleet.processes["gateway-0"].kill()
        assert client.wire.read_to_end() == b""
        assert sender.push(token, b"x", timeout_ms=500) in (UNAVAILABLE, UNKNOWN)
        expect_back(fleet, token)


def test_worker_left_down_gives_its_clients_to_others(start_fleet: StartFleet) -> None:
    fleet: Fleet = start_fleet(workers=2, worker_heartbeat_ms=100)
    token = owned_by(0)
    with connect("v2", fleet.address) as client, RawSender(fleet.endpoint) as sender:
        client.subscribe(token)
        assert client.ping(30) == 30
        for _ in range(5):
            wait_until(lambda: fleet.worker_pid(0), "a worker")
            wait_until_idle(fleet)
            fleet.kill_worker(0)
        assert fleet.processes["gateway-0"].wait() == 3
        assert sender.push(token, b"with the other", timeout_ms=20_000) in (SENT, BUFFERED)
        assert client.read_push().body == b"with the other"
        assert client.ping(30) == 30
        assert fleet.live_workers() == ["here/1"]
