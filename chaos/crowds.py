"""The clients of a run: some processes of clients.c, each with a source address of its own."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.machines import ANY_CORE
from benchmarks.programs import Program
from chaos.ledgers import Entry, entries

_SOURCES = Path(__file__).parent
#: Clients of a process being connected at a time.
_WINDOW = 64


@dataclass(frozen=True, slots=True)
class Pace:
    """What busy and slow clients do: bytes read in a second, milliseconds from one packet to the next."""

    slow_bytes: int = 512
    busy_ms: int = 2000


DEFAULT_PACE = Pace()


@dataclass(frozen=True, slots=True)
class Place:
    """Where clients connect to, and the command (`ip netns exec ...`) that their processes run within."""

    address: tuple[str, int]
    within: tuple[str, ...] = ()


class Crowd:
    """Clients 0 to `count - 1`, an equal part of them at each place. Ends with its `with` block.

    `processes` is for each place.
    """

    def __init__(self, places: Sequence[Place], count: int, processes: int, folder: Path, pace: Pace) -> None:
        self.clients = range(count)
        self._each = -(-count // len(places))
        self._shares: list[tuple[Place, int, int, int]] = []  # place, number there, first client, clients
        share = -(-self._each // processes)
        for number, place in enumerate(places):
            end = min(count, (number + 1) * self._each)
            starts = range(number * self._each, end, share)
            self._shares += [(place, n, start, min(share, end - start)) for n, start in enumerate(starts)]
        self._ledgers = [folder / f"clients-{start}" for _, _, start, _ in self._shares]
        self._pace = (str(pace.slow_bytes), str(pace.busy_ms))
        self._programs: list[Program] = []
        self._stack = ExitStack()

    def place_of(self, client: int) -> int:
        """Number of the place where a client is."""
        return client // self._each

    def __enter__(self) -> Self:
        for (place, number, start, count), ledger in zip(self._shares, self._ledgers, strict=True):
            host, port = place.address
            # One address reaches one port with 28,000 connections.
            arguments = (host, str(port), f"127.0.0.{2 + number}", str(start), str(count), str(ledger), *self._pace)
            program = Program("clients", ANY_CORE, *arguments, sources=_SOURCES, within=place.within)
            self._programs.append(self._stack.enter_context(program))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def open(self, seconds: float = 180) -> None:
        """Connects and binds all. Raises BenchmarkFault if they cannot in time."""
        for program in self._programs:
            program.tell(f"open {_WINDOW}")
        for program in self._programs:
            program.answer(seconds)

    def busy(self, yes: bool) -> None:
        """Whether the busy clients go on asking."""
        self._ask(f"busy {int(yes)}")

    def hurry(self, client: int) -> None:
        """A slow client whose worker has closed its connection is to read on to the end. From any thread."""
        for (_, _, start, count), program in zip(self._shares, self._programs, strict=True):
            if start <= client < start + count:
                program.tell(f"hurry {client}")

    def drain(self) -> None:
        """The slow clients read all that there is, from now on."""
        self._ask("drain")

    def stats(self) -> dict[str, Any]:
        """Counts of all; of `slowest_...` the greatest, of texts one."""
        total: dict[str, Any] = {}
        for part in self._ask("stats"):
            for name, value in part.items():
                if name.startswith("slowest") or isinstance(value, str):
                    total[name] = max(total.get(name, value), value)
                else:
                    total[name] = total.get(name, 0) + value
        return total

    def _ask(self, line: str) -> list[dict[str, Any]]:
        for program in self._programs:
            program.tell(line)
        return [program.answer() for program in self._programs]

    def seen(self) -> list[Entry]:
        """What each client saw, in its order; call `stats` before. Clients of different processes come apart."""
        return [entry for ledger in self._ledgers for entry in entries(ledger.read_bytes())]
