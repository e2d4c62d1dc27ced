"""Workers as one router knows them, and what their READY1 and BEAT1 say."""

from enum import Enum
from typing import Any

from router.batches import Batch
from shared.bus_rings import RingNews, ring_from_fields
from shared.errors import BusError
from shared.rings import NO_EPOCH, Epoch

#: A ring of more workers than this is nonsense.
_WORKERS_MAX = 65_536


class WorkerState(Enum):
    LIVE = "live"  # owns slots
    LEAVING = "leaving"  # owns none any more, and hands its clients over
    RESTARTING = "restarting"  # not reached for the moment; it keeps its slots, and what is for it waits
    LOST = "lost"  # not reached for too long; another process may still hold its clients


#: A worker in one of these states is sent to.
_REACHED = (WorkerState.LIVE, WorkerState.LEAVING)


class Worker:
    """One worker, by the incarnation (one run of its process) that said READY1 last.

    `since`: when it became RESTARTING or LOST. `queued_fan_outs`, `queued_calls`: by number, the ALL1 and CALL1 that
    wait until it is reached again. `begun`: the ALL1 that an incarnation had without answering, and which one; None: it
    was followed by one that did not go on from it, so what became of them is not known.
    """

    __slots__ = (
        "begun", "calls", "claims_due", "explains", "fan_outs", "faulty", "figures", "hand_over", "held",
        "identity", "in_flight", "incarnation", "kept", "last_heard", "leaving", "name", "origins", "pid",
        "queued_calls", "queued_fan_outs", "resumed", "ring_told_at", "routers", "since", "started",
        "state", "stores", "targets", "version",
    )  # fmt: skip

    def __init__(self, identity: bytes, now: float, hand_over: str = "") -> None:
        self.identity = identity
        self.name = identity.decode()
        self.incarnation: str | None = None  # None: only a ring has named it
        self.hand_over = hand_over
        self.pid = self.started = 0  # 0: not said
        self.version = ""
        self.leaving = False
        self.routers: list[int] = []  # positions of the routers that it hears
        self.state = WorkerState.RESTARTING
        self.since = self.last_heard = self.ring_told_at = now
        self.figures: dict[str, Any] = {}
        self.in_flight: dict[int, Batch] = {}  # unanswered batches
        self.held: dict[int, Batch] = {}  # answered, some pushes HELD
        self.kept: dict[int, Batch] = {}  # answered, some pushes KEPT, none HELD
        self.stores = False  # whether it knows the terms of pushes
        self.origins = False  # whether it knows where pushes come from
        self.explains = False  # whether it knows the call `explain`
        self.targets = True  # whether it knows ALL1 with a target; it does if only a ring has named it
        self.resumed: bool | None = None  # went on from an earlier incarnation's ledger; None: it does not say
        self.fan_outs: dict[int, tuple[list[bytes], str | None]] = {}  # unanswered, and the incarnation that has it
        self.begun: dict[int, str | None] = {}
        self.calls: set[int] = set()
        self.queued_fan_outs: dict[int, list[bytes]] = {}
        self.queued_calls: dict[int, list[bytes]] = {}
        self.claims_due = 0  # claims that it has announced, and that have not come yet
        self.faulty = False  # its first message that does not decode was logged

    def update(self, body: dict[str, Any], now: float) -> None:
        """Take over what READY1 says (checked by `checked_name`)."""
        self.incarnation = body["incarnation"]
        self.hand_over = body["hand_over"]
        self.pid, self.started = body.get("pid", 0), body.get("started", 0)
        self.version = str(body.get("version", ""))
        self.stores = body.get("stores") is True
        self.targets = body.get("targets") is True
        self.origins = body.get("origins") is True
        self.explains = body.get("explains") is True
        resumed = body.get("resumed")
        self.resumed = resumed if isinstance(resumed, bool) else None
        self.leaving = bool(body.get("leaving"))
        self.state = WorkerState.LEAVING if self.leaving else WorkerState.LIVE
        self.claims_due = body.get("claims", 0)
        self.last_heard = now

    @property
    def reached(self) -> bool:
        """Whether messages for it are sent; else they wait."""
        return self.state in _REACHED


def checked_name(identity: bytes, body: dict[str, Any]) -> str:
    """The name in a READY1. Raises BusError if the message is not whole, or not the identity's."""
    name = body.get("worker")
    if not isinstance(name, str) or name.encode(errors="replace") != identity:
        raise BusError(f"READY1 of {identity[:64]!r} names another worker")
    for key in ("incarnation", "hand_over"):
        if not isinstance(body.get(key), str):
            raise BusError(f"READY1 of {name} without {key}")
    for key in ("pid", "started", "claims"):
        number = body.get(key, 0)
        if type(number) is not int or not 0 <= number < 1 << 63:
            raise BusError(f"READY1 of {name} with {key} that is no number")
    return name


def checked_routers(body: dict[str, Any]) -> list[int]:
    """Positions of the routers that a worker hears; a worker of an older version says none."""
    said = body.get("routers")
    return [position for position in said if type(position) is int] if isinstance(said, list) else []


def checked_epoch(body: dict[str, Any]) -> Epoch:
    """The epoch in a BEAT1. Raises BusError if it does not fit a batch's header."""
    said = body.get("epoch", [0, 0])
    if not isinstance(said, list) or len(said) != 2 or not all(type(number) is int for number in said):
        raise BusError("epoch that is not two whole numbers")
    epoch = Epoch(*said)
    if not (0 <= epoch.started_ms < 1 << 63 and 0 <= epoch.counter < 1 << 31):
        raise BusError("epoch that is out of range")
    return epoch


def checked_ring(body: dict[str, Any]) -> RingNews:
    """The ring in a NEWS1 or READY1. Raises BusError."""
    checked_epoch(body)
    news = ring_from_fields(body)
    for workers in (news.live, news.leaving):
        if len(workers) > _WORKERS_MAX or not all(map(_is_text, [*workers.keys(), *workers.values()])):
            raise BusError("ring whose workers are no names and paths")
    return news


def _is_text(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(value.encode() or True)
    except UnicodeEncodeError:
        return False


def epoch_said(worker: Worker) -> Epoch:
    """The epoch in its last BEAT1."""
    try:
        return checked_epoch(worker.figures)
    except BusError:
        return NO_EPOCH
