"""The service's side of the service protocol, without I/O (docs/service-protocol.md).

The shell hands in what happens, each with `now` (monotonic seconds), and afterwards asks what to do, in this order:
`links_to_open`, `messages_to_send`, `take_told`, `take_events`, `deadline`. Threads that run handlers `take` work and
give back what came of it by `finish`. There is a link to each router, and a router knows nothing of the others.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from enum import Enum
from typing import Any, ClassVar

import ujson

from services.library.agendas import Agenda, Job, Work
from services.library.asks import Ask, Asks, Told
from services.library.calls import ClientCall, Returned
from services.library.links import Link, State
from services.library.policies import Policy
from services.library.statistics import Statistics
from services.library.topics import Topics
from shared.calls import (
    BEAT1,
    CALL1,
    LEAVE1,
    RETURN1,
    SERVE1,
    SERVING1,
    TOLD1,
    TOPICS1,
    WHO1,
    decode_answer,
    decode_call,
    encode_answer,
)
from shared.errors import BusError
from shared.requests import FAIL1, HELLO1
from shared.signals import PublishError

#: Period of the look at the deadlines of calls, in seconds.
_SWEEP_S = 0.25
_TIMEOUT_MS = 5000


class Phase(Enum):
    """Of the whole service."""

    SERVING = "serving"
    LEAVING = "leaving"  # LEAVE1 said; what it has is still answered
    FLUSHING = "flushing"  # all is answered; the routers have not said yet that they have it
    LEFT = "left"


class Protocol:
    """Everything a service decides. One thread at a time."""

    def __init__(self, name: str, instance: str, topics: Topics, endpoints: Sequence[str], policy: Policy) -> None:
        self.policy = policy
        self.phase = Phase.SERVING
        self.statistics = Statistics()
        #: What the service counts of itself, by name; every BEAT1 tells it.
        self.figures: Callable[[], Mapping[str, int]] = dict
        self.links = [Link(endpoint, policy, self._beat) for endpoint in endpoints]
        self._name, self._instance, self._topics = name, instance, topics
        self._agenda, self._asks = Agenda(), Asks(policy)
        self._next_sweep = 0.0
        self._body_max_bytes = policy.body_max_bytes
        self._events: list[str] = []

    # --- links

    @property
    def is_serving(self) -> bool:
        """Whether every router that it knows of has taken it up."""
        return all(link.is_serving for link in self.links)

    def links_to_open(self, now: float) -> list[int]:
        """Links to open a connection for, the old one being closed first; then `connection_opened` for each."""
        self._look(now)
        return [number for number, link in enumerate(self.links) if link.state is State.OPENING]

    def connection_opened(self, number: int, now: float) -> None:
        self.links[number].open(now, self._serve())

    def connection_lost(self, number: int, now: float, fault: str) -> None:
        """The connection has ended, or could not be made. Its router gives the calls away that came over it."""
        link = self.links[number]
        was_serving = link.is_serving
        if not link.lose(now, fault):
            return
        if was_serving:
            self.statistics.links_lost += 1
            self._events.append(f"lost the router at {link.endpoint}: {fault}")
        self.statistics.lost += self._agenda.drop(number)
        self._asks.lose(number)
        if self.phase is not Phase.SERVING:
            link.close()

    def _serve(self) -> list[bytes]:
        said = {
            "name": self._name,
            "instance": self._instance,
            "topics": self._topics.told(),
            "window": self.policy.window,
        }
        return [SERVE1, ujson.dumps(said).encode()]

    def _beat(self) -> list[bytes]:
        said = {"statistics": asdict(self.statistics), "figures": dict(self.figures())}
        return [BEAT1, ujson.dumps(said).encode()]

    # --- from a router

    def receive_message(self, number: int, frames: Sequence[bytes], now: float) -> None:
        """What cannot be read counts as a stray and does no harm."""
        link = self.links[number]
        link.hear(now)
        handler = self._handlers.get(frames[0])
        try:
            if handler is None:
                raise ValueError("unknown message")
            handler(self, number, frames, now)
        except (BusError, ValueError, LookupError, TypeError, AttributeError):
            self.statistics.strays += 1

    def _serving(self, number: int, frames: Sequence[bytes], now: float) -> None:
        said = ujson.loads(frames[1])
        heartbeat_s, timeout_s = float(said["heartbeat_ms"]) / 1000, float(said["timeout_ms"]) / 1000
        link = self.links[number]
        self._body_max_bytes = min(self.policy.body_max_bytes, int(said.get("body_limit_bytes", 1 << 60)))
        if link.welcome(max(0.01, heartbeat_s), max(0.02, timeout_s)):
            self._events.append(f"serving {len(self._topics)} topics at {link.endpoint}")

    def _who(self, number: int, frames: Sequence[bytes], now: float) -> None:
        if self.phase is Phase.SERVING:
            self.links[number].outbox.append(self._serve())

    def _call(self, number: int, frames: Sequence[bytes], now: float) -> None:
        call = decode_call(frames)
        self.statistics.calls += 1
        self.statistics.retries += bool(call.head.get("retry"))
        until = now + float(call.head.get("timeout_ms", _TIMEOUT_MS)) / 1000
        job = Job(number, self.links[number].life, call.number, ClientCall(call.head, call.body), until)
        entry = self._topics.find(call.topic)
        if entry is None:
            self._answer(job, Returned(PublishError.NOT_IMPLEMENTED))
        else:
            self._agenda.put(entry, job)

    def _told(self, number: int, frames: Sequence[bytes], now: float) -> None:
        answer = decode_answer(frames)
        if not self._asks.answer(answer.number, Returned(answer.code, answer.body), number):
            self.statistics.strays += 1

    def _hello(self, number: int, frames: Sequence[bytes], now: float) -> None:
        self.links[number].hear_echo()

    def _fail(self, number: int, frames: Sequence[bytes], now: float) -> None:
        said = ujson.loads(frames[2])
        self._events.append(
            f"refused by the router at {self.links[number].endpoint}: {said['code']}: {said['message']}"
        )

    def _nothing(self, number: int, frames: Sequence[bytes], now: float) -> None:
        """It was heard, which is all."""

    _handlers: ClassVar[dict[bytes, Callable[["Protocol", int, Sequence[bytes], float], None]]] = {
        SERVING1: _serving,
        CALL1: _call,
        TOLD1: _told,
        WHO1: _who,
        BEAT1: _nothing,
        TOPICS1: _nothing,
        HELLO1: _hello,
        FAIL1: _fail,
    }

    # --- handlers

    @property
    def ready(self) -> int:
        """How many threads find work."""
        return self._agenda.ready

    def take(self, now: float) -> Work | None:
        """The next work of a thread. What nobody waits for any more is left out."""
        while work := self._agenda.take():
            for job in work.jobs:
                if job.until <= now:
                    self.statistics.expired += 1
                    self._answer(job, Returned(PublishError.TIMED_OUT))
            jobs = [job for job in work.jobs if job.until > now]
            if jobs:
                return work._replace(jobs=jobs)
            self._agenda.done(work)
        return None

    def finish(self, work: Work, answers: Sequence[Returned | None]) -> None:
        """What the handler made of it, in the order of its jobs; None: it failed."""
        self._agenda.done(work)
        for job, answer in zip(work.jobs, answers, strict=True):
            if answer is not None and len(answer.body) > self._body_max_bytes:
                self._events.append(f"an answer to {job.call.topic} of {len(answer.body)} bytes is too large")
                answer = None
            if answer is None:
                self.statistics.failed += 1
                answer = Returned(PublishError.NOBODY_KNOWS)
            else:
                self.statistics.answered += 1
                self.statistics.refused += answer.code != 0
            self._answer(job, answer)

    def _answer(self, job: Job, answer: Returned) -> None:
        link = self.links[job.link]
        if link.is_connected and link.life == job.life:
            link.outbox.append(encode_answer(RETURN1, job.number, answer.code, answer.body))
        else:
            self.statistics.lost += 1

    # --- from the caller

    def ask(self, ask: Ask) -> None:
        """Takes a call of its own. `ask.head` is complete."""
        self.statistics.asks += 1
        self._asks.put(ask)

    def say(self, frames: list[bytes]) -> int:
        """Something for every router that serves now; how many these are."""
        links = [link for link in self.links if link.is_serving]
        for link in links:
            link.outbox.append(frames)
        return len(links)

    def mark(self) -> list[tuple[Link, int]]:
        """What has been said to routers so far; `is_heard` tells when they have read it."""
        return [(link, link.await_echo(self._hello_frames)) for link in self.links if link.is_serving]

    @staticmethod
    def is_heard(mark: Sequence[tuple[Link, int]]) -> bool:
        """Whether every router has read what was said to it before `mark`, or is lost."""
        return all(link.echoes_over >= echo for link, echo in mark)

    def leave(self) -> None:
        """No more calls, please. What is there is answered, then `phase` becomes LEFT."""
        if self.phase is not Phase.SERVING:
            return
        self.phase = Phase.LEAVING
        for link in self.links:
            if link.is_connected:
                link.outbox.append([LEAVE1])
            else:
                link.close()
        self._await_echoes()

    def _await_echoes(self) -> None:
        """A router answers HELLO1 when it has read all that was sent before, and has sent all that it had to say."""
        for link in self.links:
            if link.is_connected:
                link.await_echo(self._hello_frames)

    @property
    def _hello_frames(self) -> list[bytes]:
        return [HELLO1, self._name.encode()[:64], b""]

    def _go_on_leaving(self) -> None:
        if any(link.echoes_awaited for link in self.links):
            return
        if self.phase is Phase.LEAVING and self._agenda.is_empty and not self._asks:
            self.phase = Phase.FLUSHING
            self._await_echoes()
        elif self.phase is Phase.FLUSHING:
            self.phase = Phase.LEFT
        if self.phase is Phase.FLUSHING and not any(link.is_connected for link in self.links):
            self.phase = Phase.LEFT

    # --- to the routers

    def messages_to_send(self, now: float) -> list[tuple[int, list[bytes]]]:
        """(link, message): what to send now, in order for each link."""
        self._look(now)
        if now >= self._next_sweep:
            self._next_sweep = now + _SWEEP_S
            self._asks.sweep(now)
        serving = next((number for number, link in enumerate(self.links) if link.is_serving), None)
        if serving is not None:
            self.links[serving].outbox.extend(self._asks.take_unsent(serving))
        if self.phase is not Phase.SERVING:
            self._go_on_leaving()
        messages = []
        for number, link in enumerate(self.links):
            while link.outbox:
                messages.append((number, link.outbox.popleft()))
        return messages

    def _look(self, now: float) -> None:
        for number, link in enumerate(self.links):
            if fault := link.look(now):
                self.connection_lost(number, now, fault)

    def take_told(self) -> list[Told]:
        """Answers to calls of its own since the last time."""
        return self._asks.take_told()

    def take_events(self) -> list[str]:
        """What is to be logged, one line each."""
        events, self._events = self._events, []
        return events

    def deadline(self) -> float:
        """When time alone makes something due: come again then at the latest."""
        sweep = self._next_sweep if self._asks else float("inf")
        return min([sweep, *[link.deadline for link in self.links]])

    def close(self) -> None:
        """The end, however far it is."""
        self._asks.close()
        for link in self.links:
            link.close()


def ask_head(topic: Sequence[int], key: str | None, timeout_ms: int, more: dict[str, Any]) -> dict[str, Any]:
    """The head of a call. Without a key it is in no order with others."""
    signal, sub_signal = topic
    head = {**more, "signal": int(signal), "sub_signal": int(sub_signal), "timeout_ms": timeout_ms}
    return head if key is None else {**head, "key": key}
