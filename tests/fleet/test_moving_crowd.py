"""Thousands of clients move from worker to worker under load: nobody is disconnected, nothing lost or out of order."""

import itertools
import threading
from pathlib import Path

import pytest

from tests.clients.crowd_members import TOKEN
from tests.clients.crowd_processes import CrowdProcesses
from tests.clients.senders import BUFFERED, SENT, RawSender
from tests.fleet.conftest import StartFleet
from tests.fleet.observations import counters

CLIENTS = 6_000
TARGETS = 100


class Pushing(threading.Thread):
    """Pushes to all clients in turn, TARGETS at a time, until told to stop."""

    def __init__(self, endpoint: str) -> None:
        super().__init__(name="pushing")
        self.endpoint = endpoint
        self.stopped = threading.Event()
        self.outcomes = bytearray()

    def run(self) -> None:
        with RawSender(self.endpoint, deadline=60) as sender:
            for start in itertools.count(0, TARGETS):
                if self.stopped.is_set():
                    return
                sequences = range(start, start + TARGETS)
                pairs = [(TOKEN % (sequence % CLIENTS), b"%d.%b" % (sequence, b"x" * 40)) for sequence in sequences]
                self.outcomes += sender.done(sender.send_packed(pairs, timeout_ms=60_000))[0]


@pytest.mark.timeout(300)
def test_every_worker_restarted_under_a_crowd(start_fleet: StartFleet, tmp_path: Path) -> None:
    fleet = start_fleet(workers=3, worker_heartbeat_ms=200)
    pushing = Pushing(fleet.endpoint)
    with CrowdProcesses(fleet.client_port, CLIENTS, 2, tmp_path) as crowd:
        crowd.wait_until_bound()
        pushing.start()
        try:
            for index in range(3):
                assert fleet.stop_worker(index) == 0
                fleet.start_worker(index)
                fleet.wait_ready(3)
        finally:
            pushing.stopped.set()
            pushing.join(60)
        assert not pushing.is_alive()
        assert set(pushing.outcomes) <= {SENT, BUFFERED}
        wanted: dict[int, list[int]] = {}
        for sequence in range(len(pushing.outcomes)):
            wanted.setdefault(sequence % CLIENTS, []).append(sequence)
        shares = [
            sum([len(wanted.get(client, ())) for client in range(plan.first, plan.first + plan.count)])
            for plan in crowd.plans
        ]
        for report, share in zip(crowd.report(shares, 30), shares, strict=True):
            assert report == {"received": share, "lost": 0, "faults": []}
        received = crowd.received()
        wrong = [client for client in range(CLIENTS) if received.get(client) != wanted.get(client)]
        assert not wrong, f"{len(wrong)} clients, the first: {received.get(wrong[0])}, not {wanted.get(wrong[0])}"
    print(f"\n{CLIENTS} clients, {len(pushing.outcomes)} pushes; hand-overs: {counters(fleet)['handed_over']} and more")
