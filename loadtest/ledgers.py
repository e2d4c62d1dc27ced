"""What was pushed to whom, and what of it arrived: every push once, in order."""

from collections.abc import Callable
from dataclasses import dataclass

#: First characters of a payload; then sequence number and stamp, so that a client knows what it missed.
_MARK = "load"


class DeliveryFault(Exception):
    """A push that came twice, out of order, or that nobody sent."""


@dataclass(slots=True)
class _Account:
    asked: int = 0  # pushes made out, the last one's sequence number
    arrived: int = 0


class Ledger:
    """Accounts by token. `clock` gives seconds, the same to sender and clients. `ending`: no more pushes."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.ending = False
        self._accounts: dict[str, _Account] = {}

    def open(self, token: str) -> None:
        """This token's client is bound: it may be pushed to."""
        self._accounts[token] = _Account()

    def close(self, token: str) -> None:
        """The client is going; what is under way to it does not count."""
        self._accounts.pop(token, None)

    @property
    def tokens(self) -> list[str]:
        return list(self._accounts)

    def next_payload(self, token: str) -> str:
        """The payload of the next push to a token."""
        account = self._accounts[token]
        account.asked += 1
        return f"{_MARK} {account.asked} {self._clock():.6f}"

    def take(self, token: str, payload: str) -> float:
        """Seconds that an arrived push was under way. Raises DeliveryFault."""
        mark, _, rest = payload.partition(" ")
        number, _, stamp = rest.partition(" ")
        account = self._accounts.get(token)
        if mark != _MARK or account is None:
            raise DeliveryFault(f"{token} got what nobody sent: {payload[:64]!r}")
        expected = account.arrived + 1
        if int(number) != expected:
            account.arrived = int(number)
            raise DeliveryFault(f"push {number} came where {expected} was due")
        account.arrived = expected
        return self._clock() - float(stamp)

    def outstanding(self) -> int:
        """Pushes made out that have not arrived."""
        return sum(account.asked - account.arrived for account in self._accounts.values())
