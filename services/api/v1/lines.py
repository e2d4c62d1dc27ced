"""Lines of a bulk push: a greenlet reads them and hands them to the sender, another takes the outcomes, in order.

At most so many are under way; then the reader waits, the socket is not read, and the client has to wait too. So it
costs the same memory however many lines there are.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import gevent
import ujson
from gevent.event import Event
from pydantic import ValidationError

from services.api.problems import Problem
from services.api.v1.pushing import outcome_of
from services.sender.gevent import Sender
from services.sender.tickets import Push
from shared.errors import SenderError
from shared.outcomes import Outcome

#: Bytes of one line: a payload of 1 MiB in base64.
LINE_MAX = 2 << 20
#: So many lines are read before somebody else has a turn.
_TURN = 50
_GOOD = frozenset({Outcome.SENT, Outcome.ACKED, Outcome.STORED, Outcome.BUFFERED})


class Line(NamedTuple):
    """One that is under way: a push, or what is wrong with it."""

    token: str | None
    push: Push | None
    seconds: float
    fault: str


class Answered(NamedTuple):
    """The same with its outcome, or None and what is wrong (a code of services.api.problems)."""

    line: Line
    outcome: Outcome | None
    code: str = ""
    fault: str = ""


class Lines:
    """`readline`: of wsgi.input. `parse`: of a line; raises ValidationError. `options`: of every push."""

    def __init__(
        self,
        sender: Sender,
        readline: Callable[[int], bytes],
        parse: Callable[[bytes], Any],
        in_flight: int,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.sender, self._options = sender, options or {}
        #: Why reading has ended before the end of the body.
        self.fault = ""
        self._readline, self._parse, self._most = readline, parse, in_flight
        self._under_way: deque[Line] = deque()
        self._room, self._news = Event(), Event()
        self._reader: gevent.Greenlet | None = None

    def start(self) -> None:
        """Begins to read."""
        self._reader = gevent.spawn(self._read)
        self._reader.rawlink(lambda _: self._news.set())

    def stop(self) -> None:
        """Ends reading. Pushes that are under way go on."""
        if self._reader is not None:
            self._reader.kill()

    def answered(self) -> Iterator[Answered | None]:
        """In order; None whenever that will take a while. Ends when all lines are answered."""
        while True:
            if not self._under_way:
                if self._reader is None or self._reader.ready():
                    return
                yield None
                self._news.clear()
                if not self._under_way and not self._reader.ready():
                    self._news.wait()
                continue
            line = self._under_way[0]
            if line.push is not None and not line.push.done():
                yield None
            found = _answered(line)
            self._under_way.popleft()
            self._room.set()
            yield found

    def _read(self) -> None:
        number = 0
        try:
            while raw := self._readline(LINE_MAX + 1):
                number += 1
                if len(raw) > LINE_MAX:
                    self.fault = f"line {number} has more than {LINE_MAX} bytes"
                    return
                if raw.strip():
                    self._take(raw)
                else:
                    self._append(Line(None, None, 0.0, "empty"))
                if number % _TURN == 0:
                    gevent.sleep(0)
        except OSError:
            self.fault = f"the body ended in the middle, or stood still too long, behind line {number}"
        except SenderError as error:
            self.fault = error.message

    def _take(self, raw: bytes) -> None:
        try:
            asked = self._parse(raw)
            payload = asked.content()
        except ValidationError as error:
            self._append(Line(None, None, 0.0, first_fault(error)))
            return
        except ValueError as error:
            self._append(Line(None, None, 0.0, str(error)))
            return
        self._wait_for_room()
        push = self.sender.put(asked.token, payload, **asked.options(), **self._options)
        self._append(Line(asked.token, push, asked.patience_s(), ""))

    def _append(self, line: Line) -> None:
        self._wait_for_room()
        self._under_way.append(line)
        self._news.set()

    def _wait_for_room(self) -> None:
        while len(self._under_way) >= self._most:
            self._room.clear()
            self._room.wait()


def _answered(line: Line) -> Answered:
    if line.push is None:
        return Answered(line, None, "invalid", line.fault)
    try:
        return Answered(line, outcome_of(line.push, line.seconds))
    except Problem as problem:
        return Answered(line, None, problem.code, problem.detail)


def first_fault(error: ValidationError) -> str:
    """In one line: the field, and what is wrong with it."""
    found = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join([str(part) for part in found["loc"]])
    return f"{where}: {found['msg']}" if where else str(found["msg"])


class Report:
    """Writes the lines of the answer, and counts."""

    def __init__(self, everything: bool) -> None:
        self._everything = everything
        self._lines = 0
        self._counts: Counter[str] = Counter()

    def line(self, answered: Answered, sender: Sender) -> bytes:
        """Of one push; empty if nobody wants to know."""
        self._lines += 1
        line, outcome = answered.line, answered.outcome
        if outcome is None or line.push is None:
            self._counts[answered.code] += 1
            return _json({"line": self._lines, "error": {"code": answered.code, "detail": answered.fault}})
        self._counts[outcome.name.lower()] += 1
        if not self._everything and outcome in _GOOD:
            return b""
        told = {"line": self._lines, "token": line.token, "outcome": outcome.name, "id": sender.push_id(line.push)}
        return _json(told)

    def end(self, fault: str) -> bytes:
        """The last line: `done`, or what broke it off."""
        told: dict[str, Any] = {"done": not fault, "lines": self._lines, "counts": dict(self._counts)}
        if fault:
            told["error"] = {"code": "bad_request", "detail": fault}
        return _json(told)


def _json(fields: dict[str, Any]) -> bytes:
    return ujson.dumps(fields, ensure_ascii=False, escape_forward_slashes=False).encode("utf-8", "replace") + b"\n"
