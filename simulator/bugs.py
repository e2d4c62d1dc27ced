"""Three bugs to put in on purpose: the simulator must catch each. Nothing of them is in the product."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from simulator.loading import load, loaded
from simulator.worlds import caller


def _fence_left_out(stack: ExitStack) -> None:
    """A worker gives its clients away as soon as it hears of a new ring from anybody, and says MOVED."""
    fences = load("gateway.fences").Fences
    stack.enter_context(patch.object(fences, "passed", lambda self, epoch, heard: True))
    stack.enter_context(patch.object(fences, "behind", lambda self, epoch, routers: []))


def _late_holder_mark(stack: ExitStack) -> None:
    """The ledger learns that a client passes to another worker only when it has been sent."""
    ledger, link = load("gateway.ledgers").Ledger, load("gateway.peers").PeerLink
    passing, send = ledger.passing, link.send
    late: list[tuple[Any, int, int, int]] = []

    def note_later(self: Any, fd: int, peer: int, number: int) -> None:
        late.append((self, fd, peer, number))

    def send_first(self: Any, message: Any, *more: Any) -> None:
        taken, late[:] = list(late), []
        send(self, message, *more)
        for marks in taken:
            caller().system_call()
            passing(*marks)

    stack.enter_context(patch.object(ledger, "passing", note_later))
    stack.enter_context(patch.object(link, "send", send_first))


def _binding_reversed(stack: ExitStack) -> None:
    """Of two connections of a token the smaller binding stays."""

    def reversed_rank(holder: Any) -> tuple[int, str]:
        return -holder.binding, holder.bound_by

    load("gateway.worker")
    rank = load("gateway.claims").rank
    for module in loaded():
        if getattr(module, "rank", None) is rank:
            stack.enter_context(patch.object(module, "rank", reversed_rank))


BUGS: dict[str, Callable[[ExitStack], None]] = {
    "fence-left-out": _fence_left_out,
    "late-holder-mark": _late_holder_mark,
    "binding-reversed": _binding_reversed,
}


@contextmanager
def put_in(bug: str | None) -> Iterator[None]:
    """Run what is inside with that bug; None: with none."""
    with ExitStack() as stack:
        if bug is not None:
            BUGS[bug](stack)
        yield
