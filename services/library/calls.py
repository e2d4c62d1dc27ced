"""Calls as handlers see them, and what a handler says to one."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgpack
import ujson

from shared.calls import Topic
from shared.errors import PushError

#: Code of a refused call of the gateway's own topics; its body says more.
REFUSED = 1


class Returned(NamedTuple):
    """An answer with a code of the service's own, 0 to 255. A client of PUBLISH gets it as first byte of PUB_ACK."""

    code: int
    body: bytes = b""


class Refusal(PushError):
    """Raised by a handler: the same, as an exception. Costs no traceback."""

    def __init__(self, code: int, body: bytes = b"") -> None:
        super().__init__(code, body)
        self.code, self.body = code, body

    def __str__(self) -> str:
        return f"refused with code {self.code}"


def refusal(status: int, message: str) -> Refusal:
    """Of a call of the gateway's own topics: code 1, and a msgpack map of status and message."""
    return Refusal(REFUSED, msgpack.packb({"status": status, "message": message}))


class ClientCall(NamedTuple):
    """One call. `head` is all that came with it (shared.calls.Call); `body` is the client's, untouched."""

    head: Mapping[str, Any]
    body: bytes

    @property
    def topic(self) -> Topic:
        return Topic(self.head["signal"], self.head["sub_signal"])

    @property
    def token(self) -> str | None:
        """The client's token; None if no client asked."""
        return self.head.get("token")

    @property
    def uid(self) -> str | None:
        """The user who is logged in on the connection; None: nobody."""
        return self.head.get("uid")

    @property
    def key(self) -> str | None:
        """Calls of one key and topic come in order, one at a time; None: in no order."""
        return self.head.get("key")

    @property
    def is_retry(self) -> bool:
        """Another instance had it, died, and may have done it. Of idempotent topics only."""
        return bool(self.head.get("retry"))

    def json(self) -> Any:
        """The body as JSON. Raises Refusal (code 1, JSON with a message)."""
        try:
            return ujson.loads(self.body)
        except ValueError:
            raise Refusal(REFUSED, b'{"message":"body is not JSON"}') from None

    def fields(self) -> dict[str, Any]:
        """The msgpack map of a call of the gateway's own topics. Raises Refusal (400)."""
        try:
            fields = msgpack.unpackb(self.body)
        except Exception:  # msgpack raises whatever its input leads to
            fields = None
        if not isinstance(fields, dict):
            raise refusal(400, "body is not a map")
        return fields


def returned(outcome: object) -> Returned | None:
    """What a handler returned or raised, as an answer; None if it is none."""
    if isinstance(outcome, bytes):
        return Returned(0, outcome)
    if isinstance(outcome, Returned | Refusal):
        code, body = outcome.code, outcome.body
        if isinstance(code, int) and 0 <= code <= 255 and isinstance(body, bytes):
            return Returned(int(code), body)
    return None
