"""How much the router takes on, and go-back-N for those it turns away (docs/sender-protocol.md, section Overload).

Bounds are shared so that one sender alone cannot fill them: a connection may have as much as is left free.
Alone it gets half of a bound, n greedy ones get 1/(n+1) each, and there is always room for a newcomer.
"""

from router.connections import Connection
from shared.errors import RequestError

RETRY_AFTER_MS = 100


class Admission:
    """Counts what is unanswered, in requests and bytes."""

    def __init__(self, requests_max: int, bytes_max: int, hold_s: float) -> None:
        self.requests = 0
        self.bytes = 0
        self._requests_max = requests_max
        self._bytes_max = bytes_max
        self._hold_s = hold_s

    def check(self, connection: Connection, size: int) -> None:
        """Whether a request of `size` bytes may be taken. Raises RequestError `overloaded` or `too_large`."""
        if size > self._bytes_max:
            raise RequestError("too_large", f"request of {size} bytes exceeds the limit of {self._bytes_max}")
        if connection.requests >= self._requests_max - self.requests:
            raise RequestError("overloaded", f"{self.requests} requests are unanswered")
        if connection.bytes + size > self._bytes_max - self.bytes:
            raise RequestError("overloaded", f"{self.bytes} bytes of requests are unanswered")

    def has_room(self, connection: Connection, size: int) -> bool:
        """Whether so many bytes more of a request that was taken may be there."""
        return connection.bytes + size <= self._bytes_max - self.bytes

    def take(self, connection: Connection, size: int) -> None:
        """A request of `size` bytes is the router's now."""
        self.requests += 1
        self.bytes += size
        connection.requests += 1
        connection.bytes += size

    def release(self, connection: Connection, size: int) -> None:
        """It is answered."""
        self.requests -= 1
        self.bytes -= size
        connection.requests -= 1
        connection.bytes -= size

    def hold(self, connection: Connection, request_id: bytes, now: float) -> None:
        """This push request was turned away: so is every later one until it comes again."""
        connection.refused = request_id
        connection.hold_until = now + self._hold_s


def check_hold(connection: Connection, request_id: bytes, now: float) -> None:
    """Go back N: raises RequestError `overloaded` while a refused request is awaited; ends the hold when it comes."""
    if connection.refused is None:
        return
    if request_id == connection.refused or now >= connection.hold_until:
        connection.refused = None
        return
    raise RequestError("overloaded", "an earlier request of this connection was turned away: repeat that one first")
