"""The stream of the presence service as a receiver: events of other kinds than its own are published there, too."""

from collections.abc import Callable, Sequence
from contextlib import suppress

import msgpack

from services.library import Returned
from services.storage.events import CONNECTED, DISCONNECTED, Kept
from shared.calls import Internal, internal
from shared.errors import BusError, PushError

#: Of the wait for the presence service, in seconds. Who reads the stream misses what it does not get by then.
_WAIT_S = 2.0


class Stream:
    """See Receiver. Best effort: takes everything, so that it never keeps events from going."""

    name, most = "stream", 200

    def __init__(self, ask: Callable[..., Returned]) -> None:
        """`ask`: as Service.ask."""
        self._ask = ask

    def deliver(self, events: Sequence[Kept], attempt: int) -> None:
        """Never fails."""
        told = [event.json() for event in events if event.kind not in (CONNECTED, DISCONNECTED)]
        if told:
            with suppress(PushError, BusError):
                self._ask(internal(Internal.PRESENCE), msgpack.packb({"op": "tell", "events": told}), timeout_s=_WAIT_S)

    def close(self) -> None:
        """Nothing to do."""
