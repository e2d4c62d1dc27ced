"""What the protocol wants its shell to do, and what it tells the application. Pure."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from push_gateway_client.exceptions import PushClientError
from push_gateway_client.pushes import Push
from push_gateway_client.requests import Request


class State(Enum):
    """Of a client."""

    NEW = "new"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    WAITING = "waiting"
    CLOSED = "closed"


class Status(NamedTuple):
    """A state, why, and with WAITING the seconds until the next attempt. `token` is None until one is known."""

    state: State
    reason: str = ""
    retry_in_s: float = 0.0
    token: str | None = None


class Connect(NamedTuple):
    """Open a connection; then call `opened` or `lost`."""


class Disconnect(NamedTuple):
    """Close the connection, what was sent before first; report nothing more about it."""


class Send(NamedTuple):
    """Bytes for the connection."""

    data: bytes


class FetchCredential(NamedTuple):
    """Ask the application; then call `credential_fetched` or `credential_failed`."""


class Deliver(NamedTuple):
    """Have a push handled; then call `handled`."""

    push: Push


class Settle(NamedTuple):
    """A request has its answer or its error."""

    request: Request


class Report(NamedTuple):
    """Tell the application of a new state."""

    status: Status


class Fault(NamedTuple):
    """Tell the application of an error that is no request's."""

    error: PushClientError


Action = Connect | Disconnect | Send | FetchCredential | Deliver | Settle | Report | Fault
