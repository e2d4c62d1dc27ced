"""Answers to senders: each request taken in is answered exactly once, and its bytes and deadline are given back."""

from router.connections import Connection
from router.counters import Counters
from router.deadlines import Deadlines
from router.journeys import Arrival
from router.outbox import Outbox
from router.overload import RETRY_AFTER_MS, Admission
from router.pending import Pending
from router.repeats import Repeats
from shared.errors import RequestError
from shared.outcomes import Outcome
from shared.requests import encode_done, encode_fail, encode_info

_COUNTER_OF_OUTCOME = [(bytes([each]), f"outcome_{each.name.lower()}") for each in Outcome]


class Answers:
    """What is unanswered, and how it is answered."""

    def __init__(self, outbox: Outbox, admission: Admission, repeats: Repeats, counters: Counters) -> None:
        self._outbox, self._admission, self._repeats, self._counters = outbox, admission, repeats, counters
        self._deadlines: Deadlines[Pending] = Deadlines()
        self.unanswered: set[Pending] = set()

    def open(self, pending: Pending, deadline: float) -> None:
        """Take a request in; at `deadline` (monotonic seconds) it is answered with what is known."""
        self._admission.take(pending.connection, pending.size)
        self._deadlines.add(pending, deadline)
        self.unanswered.add(pending)

    def join(self, pending: Pending, connection: Connection, request_id: bytes) -> None:
        """A retry waits for the outcome of `pending`."""
        self._admission.take(connection, 0)
        pending.also.append((connection, request_id))

    def done(self, pending: Pending, outcomes: bytes, detail: bytes, now: float) -> None:
        """Answer a push request with DONE1, or tell the greater request of which it is a part."""
        if pending.told is not None:
            self._close(pending)
            pending.told(outcomes, now)
            return
        if pending.journey is not None:
            self._outbox.arrivals.append(Arrival(pending.journey, now, outcomes))
        if pending.repeat is not None:
            self._repeats.finish(pending.repeat, outcomes, detail, now, incomplete=pending.incomplete)
        self.say_done(pending.connection, pending.request_id, outcomes, detail)
        for connection, request_id in self._close(pending):
            self.say_done(connection, request_id, outcomes, detail)

    def info(self, pending: Pending, body: list[object] | dict[str, object]) -> None:
        """Answer a FIND1, KICK1 or EXPLAIN1 with INFO1."""
        self._close(pending)
        self.say_info(pending.connection, pending.request_id, body)

    def fail(self, pending: Pending, error: RequestError) -> None:
        """Answer a FIND1 or KICK1 with FAIL1."""
        self._close(pending)
        self.say_fail(pending.connection, pending.request_id, error)

    def _close(self, pending: Pending) -> list[tuple[Connection, bytes]]:
        pending.answered = True
        self._deadlines.remove(pending)
        self.unanswered.discard(pending)
        self._admission.release(pending.connection, pending.size)
        for connection, _ in pending.also:
            self._admission.release(connection, 0)
        return pending.also

    def say_done(self, connection: Connection, request_id: bytes, outcomes: bytes, detail: bytes) -> None:
        """DONE1 to one connection."""
        self._say(connection, encode_done(request_id, outcomes, detail))
        sent = outcomes.count(0)
        self._counters["outcome_sent"] += sent
        if sent != len(outcomes):
            for byte, counter in _COUNTER_OF_OUTCOME[1:]:
                self._counters[counter] += outcomes.count(byte)

    def say_info(self, connection: Connection, request_id: bytes, body: list[object] | dict[str, object]) -> None:
        """INFO1 to one connection."""
        self._say(connection, encode_info(request_id, body))

    def say_fail(self, connection: Connection, request_id: bytes, error: RequestError) -> None:
        """FAIL1 to one connection."""
        self._counters[f"fail_{error.code}"] += 1
        more = {"retry_after_ms": RETRY_AFTER_MS} if error.code == "overloaded" else {}
        self._say(connection, encode_fail(request_id, error, **more))

    def _say(self, connection: Connection, frames: list[bytes]) -> None:
        self._counters["answers" if self._outbox.answer(connection, frames) else "answers_dropped"] += 1

    def expire(self, now: float) -> None:
        """Answer every request whose time has passed."""
        for pending in self._deadlines.due(now):
            if not pending.answered:
                self._counters["timeouts"] += 1
                pending.desk.expire(pending, now)

    def next_deadline(self) -> float | None:
        """When `expire` must be called next, in monotonic seconds."""
        return self._deadlines.next()
