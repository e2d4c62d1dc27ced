"""Events as they are kept for those that want all of them: the outbox. Pure.

An event is put in together with what it tells of, or before that is done, and stays until every consumer has confirmed
it. It may be put in more than once: while it is there its id tells. Events have numbers without gaps, which each
consumer gets in order.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import ujson

from services.storage.presences import Transition

CONNECTED, DISCONNECTED = "connected", "disconnected"
SUBSCRIBED, ACKNOWLEDGED, EXPIRED, UNREACHED = "subscribed", "acknowledged", "expired", "unreached"
KINDS = (CONNECTED, DISCONNECTED, SUBSCRIBED, ACKNOWLEDGED, EXPIRED, UNREACHED)

#: A token without an event for so long (ms) has its next sequence by the clock again.
SEQUENCE_MS = 600_000
#: Events that go into a store together.
CHUNK = 200


class Event(NamedTuple):
    """One that has happened. `id` is the same however often it is told.

    `sequence`: among those of its token; None: the outbox gives the one behind the last that it has given for it.
    """

    id: str
    kind: str
    token: str
    fields: Mapping[str, Any]  # what else there is to say, in JSON's types
    sequence: int | None = None

    def text(self) -> str:
        """JSON, without sequence."""
        said = {"id": self.id, "kind": self.kind, "token": self.token, **self.fields}
        return ujson.dumps(said, ensure_ascii=False, escape_forward_slashes=False)


class Kept(NamedTuple):
    """One in the outbox."""

    number: int
    token: str
    kind: str
    sequence: int
    text: str

    def json(self) -> str:
        """All of it."""
        return f'{self.text[:-1]},"token_sequence":{self.sequence},"number":{self.number}}}'


class Keeping(NamedTuple):
    """What an outbox keeps. `most`: events; over it the oldest go. 0: nothing at all."""

    most: int = 0
    kinds: frozenset[str] = frozenset(KINDS)

    def of(self, events: Sequence[Event]) -> list[Event]:
        """Those of these kinds."""
        return [event for event in events if event.kind in self.kinds] if self.most else []


NOTHING = Keeping()


class Totals(NamedTuple):
    """`dropped`: how many have gone unconfirmed, since there is an outbox."""

    waiting: int
    last: int  # number of the newest that there ever was
    dropped: int


class Outbox(ABC):
    """May raise as every Storage does; from any thread and process. Times are Unix ms."""

    keeping: Keeping

    @abstractmethod
    def put(self, events: Sequence[Event], now: int) -> None:
        """Keep those whose ids are not there. Over the bound the oldest go, and are counted."""

    @abstractmethod
    def read(self, after: int, most: int) -> list[Kept]:
        """At most so many behind number `after`, in order."""

    @abstractmethod
    def take(self, consumer: str, owner: str, lease_ms: int, now: int) -> int | None:
        """Be the one process that serves a consumer, for so long: the last number that it has confirmed.

        None: another owner has it, and its lease lives.
        """

    @abstractmethod
    def confirm(self, consumer: str, owner: str, number: int) -> bool:
        """The consumer has all up to this number. False: another owner has taken it."""

    @abstractmethod
    def release(self, consumer: str, owner: str) -> None:
        """End the lease, if it is this owner's."""

    @abstractmethod
    def prune(self, consumers: Sequence[str]) -> None:
        """What all of these have confirmed goes."""

    @abstractmethod
    def totals(self) -> Totals:
        """How much there is."""


def request_field(request_id: str) -> dict[str, str]:
    """What an event of a push says of its request id; empty: it has none, and nothing is said."""
    return {"request_id": request_id} if request_id else {}


def presence_event(transition: Transition) -> Event:
    """What is told of a client that has come or gone."""
    presence, is_end = transition.presence, transition.reason is not None
    fields: dict[str, Any] = {
        "uid": presence.uid,
        "worker": presence.worker,
        "protocol": presence.protocol,
        "address": presence.address,
        "since": presence.binding,
        "at": transition.at,
    }
    if is_end:
        fields |= {"reason": transition.reason, "duration_ms": max(transition.at - presence.binding, 0)}
    kind = DISCONNECTED if is_end else CONNECTED
    return Event(f"{presence.token}/{transition.sequence}", kind, presence.token, fields, transition.sequence)
