"""Whoever comes and goes gives two events, whatever dies and moves meanwhile; and no event is missing or false."""

import threading
from collections import defaultdict, deque

from tests.clients.conversations import Conversation
from tests.clients.kinds import connect
from tests.fleet.fleet_process import Fleet
from tests.fleet.presence_watchers import Watcher, hear, watching
from tests.fleet.processes import wait_until

CLIENTS, THREADS, STAY = 500, 3, 30


class Crowd:
    """Clients that come one after the other; each goes when so many more have come."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self.tokens: list[str] = []
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(THREADS)]
        for thread in self._threads:
            thread.start()

    def _run(self, first: int) -> None:
        there: deque[Conversation] = deque()
        for number in range(first, CLIENTS, THREADS):
            token = f"client-{number}"
            try:
                client = connect("v2" if number % 2 else "ws_snake", self._fleet.address)
                client.subscribe(token)
            except (OSError, AssertionError, EOFError):
                continue  # its worker died while it was served: its connection is closed, and nobody says that it came
            self.tokens.append(token)
            there.append(client)
            if len(there) > STAY:
                there.popleft().wire.close()
        for client in there:
            client.wire.close()

    @property
    def comes(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def join(self) -> None:
        for thread in self._threads:
            thread.join()


def disturb(fleet: Fleet, times: int) -> None:
    """Kill a worker, or have it restarted."""
    index = times % 2
    if times % 4 < 2:
        fleet.kill_worker(index)
    else:
        fleet.stop_worker(index)
        fleet.start_worker(index)
    fleet.wait_ready()


def test_every_client_comes_once_and_goes_once() -> None:
    with (
        Fleet(services="subscribe,presence", presence_lease_ms=6000, worker_heartbeat_ms=100) as fleet,
        watching(fleet) as watcher,
    ):
        hear(fleet, watcher)
        crowd = Crowd(fleet)
        times = 0
        while crowd.comes:
            disturb(fleet, times)
            watcher.read()
            times += 1
        crowd.join()
        assert times >= 2
        assert len(crowd.tokens) > CLIENTS * 0.9
        wait_until(lambda: watcher.online(*crowd.tokens) == [False] * len(crowd.tokens), "all have gone")
        wait_until(lambda: len(watcher.read(*crowd.tokens)) >= 2 * len(crowd.tokens), "all is told")
        check(watcher, crowd.tokens)


def check(watcher: Watcher, tokens: list[str]) -> None:
    told = defaultdict(list)
    for event in watcher.events:
        told[event["token"]].append(event)
    for token in tokens:
        assert [event["kind"] for event in told[token]] == ["connected", "disconnected"], told[token]
        assert told[token][0]["token_sequence"] < told[token][1]["token_sequence"]
    numbers = [event["stream_sequence"] for event in watcher.events]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))  # none was missed
