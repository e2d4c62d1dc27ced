"""Must show 4: each push arrives exactly once, at the right client, in order per token, by one bus message."""

import random
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared import places
from shared.rings import owners_of_slots
from shared.tokens import slot_of
from tests.clients.crowd_members import TOKEN
from tests.clients.crowd_processes import CrowdProcesses
from tests.clients.senders import BUFFERED, OFFLINE, SENT, RawSender
from tests.fleet.bus_proxy import BusProxy
from tests.fleet.fleet_process import Fleet

CLIENTS, PUSHES = 10_000, 200_000
PROCESSES = 4
SENDERS = 2
#: One token in so many belongs to nobody.
ABSENT_EACH = 100
TARGETS, WINDOW = 50, 32  # per request, requests in flight per sender
FILLER = b"." + b"x" * 120


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory with a path short enough for a socket."""
    made = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))
    yield made
    shutil.rmtree(made)


class Load:
    """Which push goes to whom, and what became of it. Sequence s is sent by sender s % SENDERS."""

    def __init__(self, seed: str) -> None:
        numbers = random.Random(seed)
        absent = CLIENTS // ABSENT_EACH
        self.clients = [numbers.randrange(CLIENTS + absent) for _ in range(PUSHES)]
        self.outcomes = bytearray([255]) * PUSHES

    def token(self, sequence: int) -> bytes:
        return (TOKEN % self.clients[sequence]).encode()

    def drive(self, endpoint: str, number: int) -> None:
        """Sender `number`: its share in order, WINDOW requests under way, every outcome noted."""
        share = range(number, PUSHES, SENDERS)
        requests = [share[start : start + TARGETS] for start in range(0, len(share), TARGETS)]
        with RawSender(endpoint, deadline=60) as sender:
            sent = done = 0
            while done < len(requests):
                while sent < len(requests) and sent - done < WINDOW:
                    pairs = [(self.token(sequence), b"%d%b" % (sequence, FILLER)) for sequence in requests[sent]]
                    sender.send_packed(pairs, b"%d" % sent)
                    sent += 1
                kind, request_id, *rest = sender.receive()
                assert kind == b"DONE1", (kind, rest)
                part = requests[int(request_id)]
                self.outcomes[part.start : part.stop : SENDERS] = rest[0]
                done += 1

    def run(self, endpoint: str) -> None:
        """All senders to their end."""
        threads = [threading.Thread(target=self.drive, args=(endpoint, number)) for number in range(SENDERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def expected(self) -> dict[int, list[list[int]]]:
        """For each client, by sender, the sequences that it must have received, in order."""
        lists: dict[int, list[list[int]]] = {}
        for sequence, client in enumerate(self.clients):
            if self.outcomes[sequence] in (SENT, BUFFERED):
                lists.setdefault(client, [[] for _ in range(SENDERS)])[sequence % SENDERS].append(sequence)
        return lists


@pytest.mark.timeout(600)
@pytest.mark.parametrize("workers", [2, 8])
def test_exactly_once(folder: Path, workers: int) -> None:
    load = Load(f"exactly once, {workers} workers")
    endpoint = f"ipc://{folder}/bus"
    fleet = Fleet(workers=workers, router_list=endpoint)
    with BusProxy(endpoint, places.bus_endpoint(fleet.settings)) as proxy, fleet:
        started = time.monotonic()
        with CrowdProcesses(fleet.client_port, CLIENTS, PROCESSES, folder) as crowd:
            crowd.wait_until_bound()
            bound = time.monotonic()
            load.run(fleet.endpoint)
            pushed = time.monotonic()
            for report in crowd.report(shares(load, crowd), 30):
                assert report["lost"] == 0
                assert report["faults"] == []
            compare(load, crowd.received())
        compare_bus(load, proxy, fleet.live_workers())
    print(
        f"\n{workers} workers: {CLIENTS} clients bound in {bound - started:.1f} s, {PUSHES} pushes by {SENDERS} "
        f"senders in {pushed - bound:.1f} s ({PUSHES / (pushed - bound):.0f}/s), "
        f"outcomes {dict(Counter(load.outcomes))}, "
        f"bus messages {dict(sorted(proxy.messages.items()))}: {PUSHES / proxy.messages.total():.1f} pushes each"
    )


def shares(load: Load, crowd: CrowdProcesses) -> list[int]:
    """How many pushes each crowd process must receive."""
    expected = load.expected()
    return [
        sum([len(part) for client in range(plan.first, plan.first + plan.count) for part in expected.get(client, ())])
        for plan in crowd.plans
    ]


def compare(load: Load, received: dict[int, list[int]]) -> None:
    """Every outcome is true, every push arrived once at its client, in its sender's order."""
    for sequence, client in enumerate(load.clients):
        wanted = (SENT, BUFFERED) if client < CLIENTS else (OFFLINE,)
        assert load.outcomes[sequence] in wanted, f"push {sequence} to client {client}: {load.outcomes[sequence]}"
    by_sender = {
        client: [[sequence for sequence in sequences if sequence % SENDERS == number] for number in range(SENDERS)]
        for client, sequences in received.items()
    }
    expected = load.expected()
    wrong = [client for client in by_sender | expected if by_sender.get(client) != expected.get(client)]
    assert not wrong, f"{len(wrong)} clients, the first: {by_sender.get(wrong[0])} instead of {expected.get(wrong[0])}"


def compare_bus(load: Load, proxy: BusProxy, live: list[str]) -> None:
    """Every push went down to one worker, the owner of its token's slot, once."""
    owners = owners_of_slots(live)
    wanted: Counter[tuple[str, bytes, bytes]] = Counter()
    for sequence in range(PUSHES):
        token = load.token(sequence)
        wanted[owners[slot_of(token)], token, b"%d" % sequence] += 1
    assert set(wanted.values()) == {1}
    wrong = list((proxy.pushes - wanted) + (wanted - proxy.pushes))
    assert not wrong, f"{len(wrong)} pushes went to another worker, twice, or not at all: {wrong[:3]}"
    assert proxy.messages.total() < PUSHES, "pushes of one worker did not share bus messages"
