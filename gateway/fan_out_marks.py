"""Fan-outs across a death: what a successor needs to go on with one exactly where its predecessor ended.

They run one at a time. The ledger says which one runs, under which mark, and which were done before; and for each
descriptor the mark of the last one that it was sent (`gateway.sends.send_each` sets it while the descriptor stands in
the ledger as the one that is written). So whoever has the mark of the one that ran has had it, whoever has not has
seen what was done before it, and whoever was being written to is closed. Routers give what they have no answer for to
the successor once more.
"""

from collections import Counter

from gateway.connections import NO_FAN_OUT, Connection, FanOutsSeen
from gateway.fan_outs_seen import merged, seen_of, with_seen
from gateway.ledgers import WRITING, Ledger
from gateway.sends import TORN


class FanOutMarks:
    """Marks of the fan-outs that begin here, and what a predecessor has left."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.words, self.by_fd = ledger.words, ledger.fan_outs
        self.last = 0  # of the one that was begun last
        #: Whether this worker goes on from a ledger; else it does not know what a predecessor has done.
        self.resumed = False
        self._done: FanOutsSeen = NO_FAN_OUT
        #: What the predecessor had begun, and of that what it had done.
        self.begun: FanOutsSeen = NO_FAN_OUT
        self._ran = (0, 0)  # router and number of the one that it began last
        #: Clients that had those which are not done, by router and number.
        self._had: Counter[tuple[int, int]] = Counter()
        self._closed = 0  # clients that could not be gone on with: what they had is not known

    # --- this worker's own

    def begin(self, router: int, number: int, done: FanOutsSeen, begun: FanOutsSeen) -> int:
        """One begins to be sent; its mark. `done`: all that were sent before it. `begun`: those that wait, too."""
        self.last = self.last % (TORN - 1) + 1
        closed = self._closed if merged(done, self.begun) != done else 0  # until all that was left is done
        begun = merged(self.begun, begun)
        if not self._ledger.keeps_fan_outs:
            done = begun  # a successor will not know who has had it: it counts as seen, so that nobody gets it twice
        had = [[*which, count] for which, count in self._had.items() if which[1] > seen_of(done, which[0])]
        self._ledger.note_own(
            fan_outs=begun,
            fan_outs_done=done,
            fan_outs_closed=closed,
            fan_outs_had=had,
            fan_out=[self.last, router, number],
        )
        return self.last

    def sending(self, fd: int, mark: int) -> None:
        """A descriptor is about to be written to for the fan-out of this mark; `sent` follows."""
        self.words[WRITING] = fd  # first: whoever stands there is not gone on with
        if mark == self.last and fd >= 0:
            self.by_fd[fd] = mark

    def sent(self, fd: int, mark: int, delivered: bool) -> None:
        """That is over."""
        if not delivered and mark == self.last and fd >= 0:
            self.by_fd[fd] = 0
        self.words[WRITING] = -1

    # --- a predecessor's

    def go_on(self) -> FanOutsSeen:
        """Read what a predecessor has left; what it had done."""
        own = self._ledger.own
        self.resumed = bool(own)
        self.begun = tuple(own.get("fan_outs", ()))
        self._done = tuple(own.get("fan_outs_done", self.begun))  # a version without marks: all count as seen
        self.last, *ran = own.get("fan_out", (0, 0, 0))
        self._ran = (ran[0], ran[1])
        self._had = Counter({(router, number): count for router, number, count in own.get("fan_outs_had", ())})
        self._closed = own.get("fan_outs_closed", 0)
        return self._done

    def taken_over(self, connection: Connection) -> None:
        """A client of the predecessor is here: what it has seen, for this worker and for the next."""
        seen, kept = merged(connection.fan_out_seen, self._done), connection.fan_out_seen
        if self.last and self.by_fd[connection.fd] == self.last and self._ran[1] > seen_of(self._done, self._ran[0]):
            self._had[self._ran] += 1
            seen = merged(with_seen((), *self._ran), seen)
        connection.fan_out_seen = seen
        if seen is not self._done and seen != kept:
            self._ledger.note(connection)  # its mark will mean nothing when the next fan-out has begun

    def closed(self, count: int) -> None:
        """So many clients could not be taken over."""
        if self.begun != self._done:
            self._closed += count
            self._ledger.note_own(fan_outs_closed=self._closed)

    def is_left(self, router: int, number: int) -> bool:
        """Whether the predecessor had begun it."""
        return number <= seen_of(self.begun, router)

    def left_of(self, router: int, number: int) -> tuple[int, int]:
        """Of one that it had begun: how many clients had it, and how many of whom that is not known are gone."""
        return self._had[router, number], self._closed
