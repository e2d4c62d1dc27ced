"""Records as they come from Kafka, and what they ask for. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import ujson

from shared.errors import RequestError
from shared.origins import is_request_id, known_traceparent, record_request_id
from shared.requests import parse_options

Header = tuple[str, bytes | str | None]

#: Headers that are options of a push; all others are for others.
_TEXTS = frozenset({"to", "wait", "collapse", "id"})
_NUMBERS = frozenset({"ttl", "timeout_ms", "signal", "sub_signal"})
_NUMBER_DIGITS = 12
#: Headers that say where a record comes from; what is none is passed over.
REQUEST_ID, TRACEPARENT = "request-id", "traceparent"


class Place(NamedTuple):
    """A partition of a topic."""

    topic: str
    partition: int


@dataclass(frozen=True, slots=True)
class Record:
    """A record of a topic; `timestamp` in Unix ms, 0 if it has none."""

    place: Place
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[Header] = ()
    timestamp: int = 0

    @property
    def id(self) -> str:
        """What it is called, whoever reads it and however often."""
        return f"{self.place.topic}/{self.place.partition}/{self.offset}"

    @property
    def request_id(self) -> str:
        """What its producer calls it in logs, or topic/partition/offset."""
        said = self._header(REQUEST_ID)
        return said if is_request_id(said) else record_request_id(*self.place, self.offset)

    @property
    def traceparent(self) -> str:
        """The span that it was produced in; empty: none is said."""
        return known_traceparent(self._header(TRACEPARENT))

    def _header(self, name: str) -> str:
        value = next((value for said, value in self.headers if said.lower() == name), None) or b""
        return value if isinstance(value, str) else value.decode(errors="replace")

    @property
    def shown(self) -> str:
        """For log lines."""
        request_id = self.request_id
        return self.id if self.id.endswith(request_id) else f"{self.id} (request_id {request_id})"

    @property
    def size(self) -> int:
        """Bytes of key and value."""
        return len(self.key or b"") + len(self.value or b"")


class Poison(Exception):
    """A record that can never be pushed; str() is the reason."""


class Wanted(NamedTuple):
    """A push to be made: `options` without `id`, which is the producer's own or None."""

    target: bytes
    payload: bytes
    options: dict[str, Any]
    id: str | None


def wanted(record: Record, payload_max: int) -> Wanted:
    """What a record asks for. Raises Poison."""
    try:
        options, own_id = _options(tuple(record.headers))
    except RequestError as error:
        raise Poison(error.message) from None
    options = {**options, "request_id": record.request_id}
    if record.traceparent:
        options["traceparent"] = record.traceparent
    if record.value is None:
        raise Poison("record has no value")
    if len(record.value) > payload_max:
        raise Poison(f"value of {len(record.value)} bytes exceeds the limit of {payload_max}")
    if options.get("to") == "all":
        return Wanted(b"*", record.value, options, own_id)
    if not record.key:
        raise Poison("record has no key")
    return Wanted(record.key, record.value, options, own_id)


@lru_cache(maxsize=1024)
def _options(headers: tuple[Header, ...]) -> tuple[dict[str, Any], str | None]:
    """Options of a push, and the producer's own `id`. Raises Poison, RequestError."""
    options: dict[str, Any] = {}
    for name, raw in headers:
        if name in options:
            raise Poison(f"header {name} comes twice")
        if name in _TEXTS:
            options[name] = _text(name, raw)
        elif name in _NUMBERS:
            options[name] = _number(name, _text(name, raw))
    parse_options(ujson.dumps(options).encode())
    own_id = options.pop("id", None)
    return options, own_id


def _text(name: str, raw: bytes | str | None) -> str:
    if raw is None:
        raise Poison(f"header {name} has no value")
    if isinstance(raw, str):
        return raw
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise Poison(f"header {name} is not UTF-8") from None


def _number(name: str, text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > _NUMBER_DIGITS:
        raise Poison(f"header {name} is no whole number")
    return int(text)
