"""Real worker processes, with the test at the other end of their bus."""

import contextlib
import os
import signal
from pathlib import Path

import pytest

from shared import bus
from shared.outcomes import Outcome
from tests.clients.kinds import KINDS
from tests.clients.packets import PING, SUB, Packet
from tests.fleet.processes import children_of
from tests.gateway.stand_in_router import StandInRouter

SENT, OFFLINE, UNAVAILABLE = Outcome.SENT, Outcome.OFFLINE, Outcome.UNAVAILABLE
A, B = "h/0", "h/1"
CROWD = 30


@pytest.fixture
def fleet():
    """Makes a StandInRouter with the settings named."""
    with contextlib.ExitStack() as stack:

        def make(**settings):
            router = StandInRouter(**settings)
            stack.callback(router.close)
            return router

        yield make


@pytest.fixture
def two(fleet):
    """Two workers with a ring."""
    router = fleet()
    router.start(0, 1)
    router.ring([A, B])
    router.call("find", router.token_of(A), router.token_of(B))  # answered when all MOVED have come
    return router


def crowd(router, stack, kinds=tuple(KINDS)):
    """{token: client} of every kind, on both workers."""
    clients = {}
    for number in range(CROWD):
        token = f"client-{number}"
        client = stack.enter_context(router.client(kinds[number % len(kinds)], token, ids=number % 2 == 0))
        clients[token.encode()] = client
    return clients


def push_all(router, clients, payload, **options):
    """One push to each; all outcomes."""
    numbers = router.push(*[(token, payload) for token in clients], **options)
    return [outcome for worker, number in numbers.items() for outcome in router.outcomes(worker, number)]


def test_clients_of_every_kind_land_on_their_owner_and_are_served(two):
    with contextlib.ExitStack() as stack:
        clients = crowd(two, stack)
        found = two.call("find", *[token.decode() for token in clients])
        for token, client, answer in zip(clients, clients.values(), found, strict=True):
            assert (answer["online"], answer["worker"]) == (True, two.owner(token))
            assert answer["protocol"] == client.protocol
            assert answer["address"] == client.wire.local_address
        assert two.call("find", "nobody") == [{"online": False}]
        two.until(lambda: sum(two.held_by(name) for name in (A, B)) == CROWD)
        assert two.figures(A, "handed_over") + two.figures(B, "handed_over") > 0
        for round_number in range(3):
            assert push_all(two, clients, b"%d" % round_number) == [SENT] * CROWD
        for client in clients.values():
            assert [client.read_push().body for _ in range(3)] == [b"0", b"1", b"2"]
            assert client.ping(30) == 30
        numbers = two.push((b"nobody", b"x"), (b"", b"x"), to=A)
        assert sorted(two.outcomes(A, numbers[A])) == sorted([OFFLINE, Outcome.REFUSED])


def test_unread_input_goes_along(two):
    for worker in (A, B):
        with two.client() as client:
            token = two.token_of(worker)
            packets = [Packet(SUB, b'{"token":"%b"}' % token.encode())]
            packets += [Packet(PING, b'{"interval":%d}' % number) for number in range(20, 60)]
            data = b"".join(map(client.encode, packets))
            client.write(data[:-4])
            assert b"200" in client.read().body
            client.write(data[-4:])
            assert [client.read().body for _ in range(40)] == [b'{"interval":%d}' % number for number in range(20, 60)]


def test_replaced_and_kicked(two):
    token = two.token_of(A)
    with two.client("v2", token) as first, two.client("ws_snake", token) as second:
        assert first.read_disconnect() == {"reason": "replaced"}
        first.read_close()
        assert two.call("kick", token, token) == [True, False]
        assert second.read_disconnect() == {"reason": "kicked"}
        assert second.read_close() == 1008


def test_repeats_are_dropped_also_behind_a_move(two):
    prefix = bytes(range(16))
    with contextlib.ExitStack() as stack:
        clients = crowd(two, stack)
        repeatable = {"flags": bus.REPEATABLE, "prefix": prefix}
        assert push_all(two, clients, b"1", **repeatable) == [SENT] * CROWD
        assert push_all(two, clients, b"1", **repeatable) == [SENT] * CROWD
        two.workers[A].send(signal.SIGTERM)
        two.until(lambda: (A, bus.encode_control(bus.BYE1, {"leaving": True})) in two.said)
        two.ring([B], [A])
        assert push_all(two, clients, b"1", **repeatable) == [SENT] * CROWD
        assert push_all(two, clients, b"2") == [SENT] * CROWD
        ids = set()
        for token, client in clients.items():
            first, second = client.read_push(), client.read_push()
            assert (first.body, second.body) == (b"1", b"2")
            if client.ids:
                ids.add(first.push_id)
                assert first.push_id.startswith(prefix.hex()), token
        assert len(ids) == CROWD // 2


def test_a_drain_disconnects_nobody_and_loses_nothing(two):
    """Pushes that come for clients on their way wait for them, in order; silent ones move too."""
    with contextlib.ExitStack() as stack:
        clients = crowd(two, stack)
        unbound = [stack.enter_context(two.client("v2")) for _ in range(10)]
        assert push_all(two, clients, b"0") == [SENT] * CROWD
        two.workers[A].send(signal.SIGTERM)
        two.until(lambda: (A, bus.encode_control(bus.BYE1, {"leaving": True})) in two.said)
        late = two.push(*[(token, b"1") for token in clients])  # routed by the old ring, right before the new one
        two.ring([B], [A])
        batches = [two.push(*[(token, b"%d" % number) for token in clients]) for number in range(2, 6)]
        for worker, number in late.items():
            assert set(two.outcomes(worker, number)) == {SENT}
        for numbers in batches:
            assert two.outcomes(B, numbers[B]) == [SENT] * CROWD
        assert two.workers[A].wait() == 0
        two.until(lambda: (A, bus.encode_control(bus.BYE1, {"gone": True})) in two.said)
        two.ring([B])
        assert push_all(two, clients, b"6") == [SENT] * CROWD
        for client in clients.values():
            assert [client.read_push().body for _ in range(7)] == [b"%d" % number for number in range(7)]
            assert client.ping() == 400
        for client in unbound:
            assert client.ping() == 400
        two.until(lambda: two.held_by(B) == CROWD + 10)
        assert "internal error" not in two.workers[A].log + two.workers[B].log


def test_a_worker_without_clients_answers_what_was_routed_to_it_before_it_goes(two):
    two.workers[A].send(signal.SIGTERM)
    two.until(lambda: (A, bus.encode_control(bus.BYE1, {"leaving": True})) in two.said)
    heard = two.heard[A]
    two.until(lambda: two.heard[A] > heard + 2)  # it waits for the ring without it
    numbers = [two.push((two.token_of(A).encode(), b"x"), to=A)[A] for _ in range(5)]
    two.ring([B], [A])
    for number in numbers:
        assert two.outcomes(A, number) == [OFFLINE]
    assert two.workers[A].wait() == 0


def test_a_new_worker_gets_its_share(fleet):
    router = fleet()
    router.start(0)
    router.ring([A])
    with contextlib.ExitStack() as stack:
        clients = crowd(router, stack)
        router.start(1)
        before = router.push(*[(token, b"0") for token in clients])
        router.ring([A, B])
        after = router.push(*[(token, b"1") for token in clients])
        assert router.outcomes(A, before[A]) == [SENT] * CROWD
        for worker, number in after.items():
            assert set(router.outcomes(worker, number)) == {SENT}
        for client in clients.values():
            assert [client.read_push().body for _ in range(2)] == [b"0", b"1"]
        shares = {name: sum(router.owner(token) == name for token in clients) for name in (A, B)}
        router.until(lambda: all(router.beats[name]["epoch"] == [1, 2] for name in (A, B)))
        router.until(lambda: {name: router.held_by(name) for name in (A, B)} == shares)


def test_fan_outs_reach_clients_that_move_exactly_once(two):
    with contextlib.ExitStack() as stack:
        clients = crowd(two, stack)
        numbers = [two.all(b"0", [A, B])]
        two.workers[A].send(signal.SIGTERM)
        two.until(lambda: (A, bus.encode_control(bus.BYE1, {"leaving": True})) in two.said)
        numbers.append(two.all(b"1", [A, B]))
        two.ring([B], [A])
        numbers += [two.all(b"%d" % at, [A, B]) for at in (2, 3)]
        assert two.workers[A].wait() == 0
        numbers.append(two.all(b"4", [B]))
        for client in clients.values():
            assert [client.read_push().body for _ in range(5)] == [b"0", b"1", b"2", b"3", b"4"]
        assert two.counts(B, numbers[-1])["sent"] == CROWD
        assert two.counts(A, numbers[0])["sent"] + two.counts(B, numbers[0])["sent"] == CROWD
        assert not any(client.wire.buffered for client in clients.values())


def test_stopping_tells_every_client_to_come_back(two):
    with contextlib.ExitStack() as stack:
        clients = crowd(two, stack)
        unbound = stack.enter_context(two.client())
        for name in (A, B):
            two.workers[name].send(signal.SIGINT)
        for client in clients.values():
            said = client.read_disconnect()
            assert said["reason"] == "shutdown"
            assert 0 <= said["retry_after_ms"] <= 5000
            assert client.read_close() in (0, 1012)
            client.wire.close()
        assert unbound.wire.read_to_end() == b""
        unbound.wire.close()
        for name in (A, B):
            assert two.workers[name].wait(5) == 0


def test_clients_that_do_not_close_do_not_hold_up_a_stop(two):
    with contextlib.ExitStack() as stack:
        crowd(two, stack)
        for name in (A, B):
            two.workers[name].send(signal.SIGTERM)
            two.workers[name].send(signal.SIGTERM)
        two.until(lambda: sum(frames[0] == bus.BYE1 for _, frames in two.said) >= 2)
        for name in (A, B):
            two.workers[name].send(signal.SIGTERM)
            assert two.workers[name].wait(5) == 0


def test_the_last_worker_that_leaves_says_good_bye(fleet):
    router = fleet()
    router.start(0)
    router.ring([A])
    with router.client("v1", "alice") as client:
        router.workers[A].send(signal.SIGTERM)
        router.until(lambda: (A, bus.encode_control(bus.BYE1, {"leaving": True})) in router.said)
        router.ring([], [A])
        assert client.read_disconnect()["reason"] == "shutdown"
        client.wire.close()
        assert router.workers[A].wait(5) == 0


def test_without_a_router_a_worker_can_be_stopped(fleet):
    router = fleet()
    router.start(0)
    with router.client() as client:
        client.send(SUB, {"token": "alice"})
        assert client.wire.silent_for(0.1)
        router.workers[A].send(signal.SIGTERM)
        assert client.read_disconnect()["reason"] == "shutdown"
        client.wire.close()
        assert router.workers[A].wait(5) == 0


def test_noise_on_the_bus(two):
    for frames in ([b"NOISE"], [bus.PUSHES1], [bus.RING1, b"{"], [bus.CALL1, b"x"], [b"x"] * 1000, [b""]):
        two.send(A, frames)
    token = two.token_of(A)
    with two.client("v2", token) as client:
        numbers = two.push((token.encode(), b"x"))
        assert two.outcomes(A, numbers[A]) == [SENT]
        assert client.read_push().body == b"x"
    two.until(lambda: two.figures(A, "bus_errors") == 6)
    assert two.figures(A, "internal_errors") == 0


def kill(router, worker):
    """SIGKILL to a worker that serves nobody just then; until its successor has said READY1."""
    first = router.ready[worker]["incarnation"]
    router.until(lambda: router.held_by(worker) is not None)
    (child,) = children_of(router.workers[worker].pid)
    router.until(lambda: state_of(child) == "S")
    os.kill(child, signal.SIGKILL)
    router.until(lambda: router.ready[worker]["incarnation"] != first)


def state_of(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_worker_that_dies_comes_again_and_its_clients_stay(two):
    with contextlib.ExitStack() as stack:
        clients = crowd(two, stack)
        unbound = stack.enter_context(two.client("v2"))
        assert unbound.ping() == 400
        assert push_all(two, clients, b"0") == [SENT] * CROWD
        kill(two, A)
        two.ring([A, B])
        assert push_all(two, clients, b"1") == [SENT] * CROWD
        for client in clients.values():
            assert [client.read_push().body for _ in range(2)] == [b"0", b"1"]
            assert client.ping() == 400
        assert unbound.ping() == 400
        two.until(lambda: two.held_by(A) + two.held_by(B) == CROWD + 1)
        two.until(lambda: two.figures(A, "taken_again") >= sum(two.owner(token) == A for token in clients))
        assert two.figures(A, "close_worker_lost") == 0
        two.until(lambda: "clients taken over: " in two.workers[A].log)


def test_counters_go_on_in_the_next_worker(two):
    token = two.token_of(A)
    with two.client("v2", token) as client:
        assert client.ping() == 400
        two.until(lambda: {A, B} <= two.beats.keys() and two.held_by(A) == 1)
        before = two.figures(A, "taken_over") + two.figures(A, "accepted")
        assert before == 1
        heard = two.heard[A]  # they are written down once a second
        two.until(lambda: two.heard[A] > heard + 12)
        kill(two, A)
        heard = two.heard[A]
        two.until(lambda: two.heard[A] > heard)
        assert two.figures(A, "taken_over") + two.figures(A, "accepted") == before


def test_an_exception_that_nothing_catches_ends_the_worker_and_no_client(fleet):
    router = fleet()
    faulty = router.launch(0, "--worker-module", "tests.gateway.faulty_worker")
    router.until(lambda: A in router.ready)
    router.ring([A])
    with router.client("v2", "alice") as client:
        assert client.ping() == 400
        first = router.ready[A]["incarnation"]
        (child,) = children_of(faulty.pid)
        os.kill(child, signal.SIGUSR1)
        router.until(lambda: router.ready[A]["incarnation"] != first)
        router.ring([A])
        numbers = router.push((b"alice", b"x"))
        assert router.outcomes(A, numbers[A]) == [SENT]
        assert client.read_push().body == b"x"
    assert "RuntimeError: as ordered" in faulty.log
    assert "worker 0 exited with status 1: starting it again" in faulty.log


def test_a_take_over_where_no_descriptor_is_free(fleet):
    """Clients have all that a worker may have open; its successor finds room beside them."""
    router = fleet()
    worker = router.launch(0, descriptors=250)
    router.until(lambda: A in router.ready)
    router.ring([A])
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(router.client("v2")) for _ in range(150)]
        router.until(lambda: router.figures(A, "accept_pauses"))
        served = router.figures(A, "accepted")
        assert 100 <= served < 150
        assert [client.ping() for client in clients[:served]] == [400] * served
        kill(router, A)
        router.ring([A])
        assert [client.ping() for client in clients[:served]] == [400] * served
        for client in clients[:served]:
            client.wire.close()
        assert [client.ping() for client in clients[served:]] == [400] * (150 - served)
    assert f"clients taken over: {served}, closed: 0" in worker.log


def test_settings_that_cannot_be(fleet):
    router = fleet(auth_keys_file="/nowhere/keys.json")
    worker = router.launch(0)
    assert worker.wait() == 2
    (line,) = worker.log.splitlines()
    assert line.startswith("push-gateway: auth_keys_file: ")
    assert "no such file" in line
