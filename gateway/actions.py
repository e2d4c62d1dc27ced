"""What the session rules want done: actions, carried out by `gateway.conversations`."""

from typing import Any, NamedTuple

from shared.calls import Topic
from shared.reasons import CloseReason


class Send(NamedTuple):
    """Put bytes on the wire."""

    data: bytes


class Close(NamedTuple):
    """Send last bytes, then end the connection."""

    reason: CloseReason
    data: bytes = b""
    detail: str = ""


class Bind(NamedTuple):
    """Bind the connection to a token (None: make one), here or on its owner. Its options are in the record.

    One that is bound to another token is bound anew.
    """

    token: bytes | None
    message_id: int
    asked: bool  # for options
    ack: bytes | None = None  # body of the CONNECT_ACK that answers a CONNECT; None: a SUB is answered


class Beat(NamedTuple):
    """Heartbeat deadline in seconds from now on."""

    seconds: int


class Acknowledge(NamedTuple):
    """A client has acknowledged a push."""

    message_id: int


class Forward(NamedTuple):
    """Ask the service of a topic. Its answer goes to `SessionRules.answered`, with this.

    `kind`: the signal that the client said. After SUB and CONNECT what the client says next waits for the answer;
    DISCONNECT is not answered.
    """

    kind: int
    topic: Topic
    key: str  # calls of one key and topic stay in order
    body: bytes
    message_id: int = 0
    options: dict[str, Any] | None = None  # what was asked for with SUB or CONNECT


Action = Send | Close | Bind | Beat | Acknowledge | Forward
