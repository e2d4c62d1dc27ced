"""One line for a push whose sender has given a request id: what became of it here (docs/logs.md)."""

import logging

from gateway.held_pushes import HeldPush
from shared.bus import ENTRY, HELD, KEPT, ORIGIN, STALE, Batch, FanOut
from shared.log_events import Event
from shared.log_limits import LineLimit
from shared.origins import Origin
from shared.outcomes import Outcome
from shared.push_ids import push_id

logger = logging.getLogger("gateway.pushes")

#: Out of the ordinary: worth a line each at INFO; the others at DEBUG.
UNUSUAL = frozenset(
    {
        Outcome.EXPIRED,
        Outcome.OVERLOADED,
        Outcome.TOO_LARGE,
        Outcome.UNAVAILABLE,
        Outcome.REFUSED,
        Outcome.UNKNOWN,
    }
)
#: No outcome: one of a byte is less.
REPLAYED = 256
_NAMES = {
    **{int(each): each.name for each in Outcome},
    HELD: "held",
    KEPT: "kept",
    STALE: "goes elsewhere",
    REPLAYED: "replayed",
}

#: The most lines in a second.
LINES_PER_S = 1000
#: Clients whose full buffer has cost a push, and the request id of the last such push.
BLAMED_MAX = 256


class PushLogs:
    """Only pushes with an origin come here."""

    def __init__(self) -> None:
        self._limit = LineLimit("pushes", LINES_PER_S)
        self.blamed: dict[bytes, str] = {}  # by token
        self._fan_outs: dict[tuple[int, int], Origin] = {}

    def batch(self, batch: Batch, outcomes: bytes | bytearray) -> None:
        """A batch with origins has been delivered."""
        at = start = 0
        origins, entries = iter(batch.origins), ENTRY.iter_unpack(batch.entries)
        for segment in batch.segments:
            origin = next(origins) if segment.flags & ORIGIN else None
            for _ in range(segment.pushes):
                token_bytes, payload_bytes, position = next(entries)
                if origin is not None:
                    token = batch.data[start : start + token_bytes]
                    if outcomes[at] == Outcome.OVERLOADED:
                        self._blame(token, origin)
                    self._note(origin, outcomes[at], segment.id_prefix, position, token)
                start += token_bytes + payload_bytes
                at += 1

    def late(self, push: HeldPush, outcome: int) -> None:
        """A push that was held or kept has its outcome, or waits on."""
        if push.origin is not None:
            self._note(push.origin, outcome, push.segment.id_prefix, push.position)

    def replayed(self, request_id: str, id_prefix: bytes, position: int, token: bytes) -> None:
        """A stored push goes to its client."""
        self._note(Origin(request_id), REPLAYED, id_prefix, position, token)

    def fan_out(self, router: int, fan_out: FanOut) -> None:
        """A push to many has come."""
        if fan_out.origin is not None:
            self._fan_outs[router, fan_out.number] = fan_out.origin

    def counts(self, router: int, number: int, counts: dict[str, int]) -> None:
        """What became of it is told."""
        origin = self._fan_outs.pop((router, number), None)
        if origin is not None and logger.isEnabledFor(logging.DEBUG) and self._limit.allows():
            told = {name: count for name, count in counts.items() if count}
            logger.debug(Event("push to many", request_id=origin.shown, **told))

    def take_left_out(self) -> int:
        """How many lines were left out since the last call."""
        return self._limit.take_left_out()

    def _note(self, origin: Origin, outcome: int, id_prefix: bytes, position: int, token: bytes = b"") -> None:
        level = logging.INFO if outcome in UNUSUAL else logging.DEBUG
        if logger.isEnabledFor(level) and self._limit.allows():
            shown, to = push_id(id_prefix, position), token.decode(errors="backslashreplace")
            event = Event("push", request_id=origin.shown, outcome=_NAMES.get(outcome, outcome), token=to, id=shown)
            logger.log(level, event)

    def _blame(self, token: bytes, origin: Origin) -> None:
        self.blamed.pop(token, None)
        if len(self.blamed) >= BLAMED_MAX:
            del self.blamed[next(iter(self.blamed))]
        self.blamed[token] = origin.shown
