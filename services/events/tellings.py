"""The topic EVENTS: routers tell of pushes without ttl that have reached nobody."""

from collections.abc import Callable, Sequence

from services.events.counters import Counters
from services.library import ClientCall, Refusal, refusal
from services.storage.events import UNREACHED, Event, Outbox, request_field
from shared.errors import StorageError
from shared.origins import is_request_id
from shared.tokens import encode_token

#: Calls whose events go into the outbox together, and events in one call.
TELLING, EVENTS_MAX = 16, 5000


class Tellings:
    """From any thread."""

    def __init__(self, outbox: Outbox, counters: Counters, unix_ms: Callable[[], int]) -> None:
        self._outbox, self._counters, self._unix_ms = outbox, counters, unix_ms

    def answer(self, calls: Sequence[ClientCall]) -> list[bytes | Refusal]:
        """Of each: it is kept. Its map has `events`: lists of token, push id, when it was (Unix ms), and

        maybe the request id, which routers of an older version leave out.
        """
        read = [_events(call) for call in calls]
        events = [event for some in read if isinstance(some, list) for event in some]
        try:
            self._outbox.put(events, self._unix_ms())
        except StorageError as error:
            return [refusal(503, f"storage: {error}")] * len(calls)
        self._counters.add_told(len(events))
        return [some if isinstance(some, Refusal) else b"" for some in read]


def _events(call: ClientCall) -> list[Event] | Refusal:
    try:
        told = call.fields()["events"]
        return [_event(*one[:4]) for one in told[:EVENTS_MAX]]
    except Refusal as refused:
        return refused
    except (KeyError, TypeError, ValueError):
        return refusal(400, "a field is missing or malformed")


def _event(token: str, push: str, at: int, request_id: object = "") -> Event:
    """Raises TypeError, ValueError."""
    if encode_token(token)[1] or type(push) is not str or len(push) > 64 or type(at) is not int:
        raise ValueError("no event")
    known = request_id if isinstance(request_id, str) and is_request_id(request_id) else ""
    fields = {"push_id": push, "at": at, "stored": False, **request_field(known)}
    return Event(f"{push}/{UNREACHED}", UNREACHED, token, fields)
