"""What most figures need: a fleet with clients bound to it, and a sender connected."""

from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from benchmarks.costs import wait_until_quiet
from benchmarks.faults import BenchmarkFault
from benchmarks.fleets import Fleet
from benchmarks.programs import Floor, Load
from benchmarks.senders import Packed, Sender, Told


@dataclass(frozen=True, slots=True)
class Spent:
    """CPU of one run in microseconds per push (or copy), and how many a second it was."""

    router: float
    workers: float
    per_second: float

    @property
    def total(self) -> float:
        return self.router + self.workers


class Stage:
    """A fleet of `workers` with `clients` of one protocol. Ends with its `with` block."""

    def __init__(self, workers: int, clients: int, protocol: str = "text") -> None:
        self._workers, self.clients, self._protocol = workers, clients, protocol
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.fleet = stack.enter_context(Fleet(self._workers))
            self.load = stack.enter_context(Load(self.fleet.client_port, self._protocol))
            self.load.open(self.clients)
            self.sender = Sender(self.fleet.endpoint)
            stack.callback(self.sender.close)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def rest(self) -> None:
        """Returns when the fleet has nothing more to do."""
        wait_until_quiet(self.fleet.pids)

    def push(self, batches: list[Packed], pushes: int, in_flight: int, with_id: bool = False) -> Spent:
        """Pushes flat out; each must arrive, exactly once. Raises BenchmarkFault."""
        requests = max(1, pushes // batches[0].count)
        before = self._begin()
        told = self.sender.flat_out(batches, requests, in_flight, with_id)
        count = requests * batches[0].count
        if told.sent != count:
            raise BenchmarkFault(f"of {count} pushes {told.sent} were sent: outcomes {dict(told.outcomes)}")
        return self._end(before, count, told)

    def push_to_all(self, pushes: int) -> Spent:
        """The same for pushes to all, per copy."""
        before = self._begin()
        told = self.sender.to_all(pushes)
        return self._end(before, pushes * self.clients, told)

    def _begin(self) -> tuple[int, int]:
        self.load.reset()
        return self.fleet.router_and_workers_us()

    def _end(self, before: tuple[int, int], count: int, told: Told) -> Spent:
        self.load.await_pushes(count)
        router, workers = self.fleet.router_and_workers_us()
        return Spent((router - before[0]) / count, (workers - before[1]) / count, count / told.seconds)


class FloorStage:
    """The floor with the same number of clients. Ends with its `with` block."""

    def __init__(self, clients: int) -> None:
        self.clients = clients
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.floor = stack.enter_context(Floor())
            # Another source address than the fleet's clients, so that both together have ports enough.
            self.load = stack.enter_context(Load(self.floor.port, source="127.0.0.2"))
            self.load.open(self.clients)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def push(self, pushes: int) -> Spent:
        """Pushes flat out, each to one random client."""
        self.load.reset()
        return self._spent(self.floor.push(pushes))

    def push_to_all(self, pushes: int) -> Spent:
        """Pushes to every client, per copy."""
        self.load.reset()
        return self._spent(self.floor.push_to_all(pushes))

    def _spent(self, told: dict[str, int]) -> Spent:
        count = told["pushes"]
        self.load.await_pushes(count)
        return Spent(0, told["cpu_us"] / count, count / told["wall_us"] * 1e6)
