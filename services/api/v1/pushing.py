"""Pushes as they are asked for: their options and payloads, and how what went wrong with them is said."""

from base64 import b64decode
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, WithJsonSchema
from pydantic.config import JsonDict

from services.api.problems import Problem
from services.api.v1.shapes import AS_WHOLE, Body
from services.sender.gevent import Sender
from services.sender.tickets import Push
from shared.errors import SenderError
from shared.outcomes import Outcome
from shared.signals import SUB_SIGNAL_MAX, SubSignal

#: Seconds that a push may take beside its `timeout_ms`: repeats, another router.
GRACE_S = 10.0
TIMEOUT_MAX_MS = 60_000
#: Seconds to wait for a router to be found, before anything is given to it.
_ROUTER_S = 2.0
_BASE64 = r"^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
_OPTIONS = ("ttl", "wait", "collapse", "signal", "sub_signal", "timeout_ms")

_OVERLOADED = frozenset({"queue_full", "overloaded"})
_INVALID = frozenset({"bad_options", "malformed", "too_many_targets", "not_supported"})


def _check_collapse(text: str) -> str:
    if len(text.encode()) > 255:
        raise ValueError("collapse is longer than 255 bytes")
    return text


def _check_sub_signal(name: str) -> str:
    if name not in SubSignal.__members__:
        raise ValueError(f"{name[:32]} is no sub-signal")
    return name


SubSignalName = Annotated[
    str, AfterValidator(_check_sub_signal), WithJsonSchema({"type": "string", "enum": [*SubSignal.__members__]})
]


#: For the specification.
ONE_PAYLOAD: JsonDict = {"oneOf": [{"required": [name]} for name in ("payload", "payload_base64")]}


class PushOptions(Body):
    """A payload and options, as in PUSH1 (docs/sender-protocol.md)."""

    payload: str | None = Field(default=None, description="text")
    payload_base64: str | None = Field(default=None, pattern=_BASE64, description="bytes")
    ttl: Annotated[int, Field(ge=0, le=10**9), AS_WHOLE] | None = Field(
        default=None, description="seconds to keep it for who is away; 0: do not"
    )
    wait: Literal["sent", "acked"] | None = Field(default=None, description="for what to wait; default sent")
    collapse: Annotated[str, AfterValidator(_check_collapse)] | None = Field(
        default=None, min_length=1, max_length=255, description="a newer stored push of this key replaces the older"
    )
    signal: Literal["PUSH", "PUBLISH"] | None = Field(default=None, description="default PUSH")
    sub_signal: Annotated[int, Field(ge=0, le=SUB_SIGNAL_MAX), AS_WHOLE] | SubSignalName | None = Field(
        default=None, description="number or name; default NONE"
    )
    timeout_ms: Annotated[int, Field(ge=1, le=TIMEOUT_MAX_MS), AS_WHOLE] | None = Field(
        default=None, description="how long to wait for the outcome; default 5000"
    )

    def options(self) -> dict[str, Any]:
        """For the sender. What is not stored needs no `collapse`."""
        found = {name: value for name in _OPTIONS if (value := getattr(self, name)) is not None}
        if not self.ttl:
            found.pop("collapse", None)
        return found

    def content(self) -> bytes:
        """The payload. Raises ValueError."""
        if (self.payload is None) == (self.payload_base64 is None):
            raise ValueError("one of payload and payload_base64 is needed")
        return b64decode(self.payload_base64) if self.payload is None else self.payload.encode()  # type: ignore[arg-type]

    def patience_s(self) -> float:
        """How long its outcome may take, in seconds."""
        return (self.timeout_ms or 5000) / 1000 + GRACE_S


def ready_sender(sender: Sender | None) -> Sender:
    """The sender, when a router has answered it: nothing is queued for one that is not there. Raises Problem."""
    if sender is None:
        raise Problem("unavailable", "no router runs on this host")
    try:
        sender.wait_ready(_ROUTER_S)
    except SenderError as error:
        raise as_problem(error) from None
    return sender


def outcome_of(ticket: Push, seconds: float) -> Outcome:
    """UNKNOWN if nobody has said it in time. Raises Problem: the request as a whole was refused."""
    try:
        return ticket.result(max(0.0, seconds))
    except SenderError as error:
        if error.code == "timed_out":
            return Outcome.UNKNOWN
        raise as_problem(error) from None


def as_problem(error: SenderError) -> Problem:
    """What the sender says, for who asked over HTTP."""
    if error.code == "id_reused":
        return Problem("idempotency_key_reused", "other targets, payload or options came with this Idempotency-Key")
    if error.code in _OVERLOADED:
        return Problem("overloaded", error.message)
    if error.code in _INVALID:
        return Problem("invalid", error.message, [])
    return Problem("unavailable", error.message)
