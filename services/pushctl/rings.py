"""What the routers say about the workers: each is asked by a sender of its own, all at once."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from types import TracebackType
from typing import Any, NamedTuple, Self

from services.sender import CurveKeys, Policy, Sender
from shared.errors import SenderError

#: How long (seconds) a router may take to answer; one that is silent does not count.
ANSWER_S = 1.0


class Sighting(NamedTuple):
    """A worker as one router knows it. `run` is another for each start of the worker."""

    state: str
    slots: int
    clients: int
    run: tuple[int, str]


class Rings:
    """The routers in question. Use as a context manager."""

    def __init__(self, endpoints: Sequence[str], curve: CurveKeys | None, answer_s: float = ANSWER_S) -> None:
        policy = Policy(give_up_s=answer_s, hello_timeout_s=answer_s, answer_grace_s=answer_s, backoff_max_s=0.2)
        self.endpoints = tuple(endpoints)
        self._senders = [Sender(endpoint, curve=curve, **asdict(policy)) for endpoint in endpoints]
        self._pool = ThreadPoolExecutor(len(self._senders))

    def figures(self) -> list[dict[str, Any]]:
        """STAT1 of every router that answers."""
        return [figures for figures in self._pool.map(_figures, self._senders) if figures]

    def explanations(self, token: str | None, message: str) -> list[dict[str, Any] | SenderError]:
        """EXPLAIN1 of every router, in the order of `endpoints`; why one did not answer."""
        return list(self._pool.map(lambda sender: _explanation(sender, token, message), self._senders))

    def sightings(self, worker: str) -> list[Sighting | None]:
        """How each router that answers sees a worker; None: not at all."""
        return [_sighting(figures["workers"].get(worker)) for figures in self.figures()]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for sender in self._senders:
            sender.close(0)
        self._pool.shutdown()


def _figures(sender: Sender) -> dict[str, Any]:
    try:
        return sender.stat()
    except SenderError:
        return {}


def _explanation(sender: Sender, token: str | None, message: str) -> dict[str, Any] | SenderError:
    try:
        return sender.explain(token, message)
    except SenderError as error:
        return error


def _sighting(said: dict[str, Any] | None) -> Sighting | None:
    if said is None:
        return None
    run = (said["pid"], str(said.get("incarnation", "")))
    return Sighting(said["state"], said["slots"], sum(said["connections"].values()), run)
