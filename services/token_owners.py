"""Whose a token is, what must go when it passes to another user, and what is left of a login that has ended."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from services.catalogue import chosen
from services.library import PublishError, Service
from services.storage.interfaces import Codes, Sessions
from shared.cached_messages import Clear, Cleared, call_key, decode_results, encode_operations, topic_of
from shared.errors import BusError
from shared.settings import Settings

#: Seconds. Whoever waits for CONNECT or SUB waits for this too, and no longer than call_timeout_ms.
_TIMEOUT_S = 2.0

#: Seconds that a token is kept for the user of a credential that is good for longer.
_CLAIM_MAX_S = 10 * 365 * 86400.0

#: Takes out all that is stored for a token; waits. False: it may still be there.
Clearing = Callable[[str], bool]


def clearing(service: Service, settings: Settings) -> Clearing:
    """By the message cache. Where none is to run, nothing is stored."""
    caches, runs_here = settings.message_caches, chosen(settings)["message-cache"] > 0

    def clear(token: str) -> bool:
        topic = topic_of(token.encode(), caches)
        body = encode_operations([Clear(token.encode())])
        code, answer = service.ask(topic, body, key=call_key(topic), timeout_s=_TIMEOUT_S, idempotent=True)
        if code == PublishError.NOT_IMPLEMENTED:
            return not runs_here
        return code == PublishError.OK and _is_cleared(answer)

    return clear


def _is_cleared(answer: bytes) -> bool:
    try:
        return all(isinstance(result, Cleared) for result in decode_results(answer))
    except BusError:
        return False


class OwnersStorage(Protocol):
    """The part that is needed of services.storage."""

    @property
    def sessions(self) -> Sessions: ...
    @property
    def codes(self) -> Codes: ...


class Owners:
    """Whose tokens are: of users with a live session, and of those whose credentials have bound them."""

    def __init__(self, storage: OwnersStorage) -> None:
        self._storage = storage

    def owner_of(self, token: str, now: float) -> str | None:
        """The uid; None: nobody has proved anything.

        A claim comes first: it was there before any session of another user, or it would not have been made.
        """
        claim = self._claim(token, now)
        return claim.uid if claim else self._storage.sessions.owner_of(token, now)

    def claim(self, token: str, uid: str, expires: float, now: float) -> None:
        """A credential has bound a token: it is this user's until then, or as long as one before it was good for.

        Whoever signed the credential may be known to no service, so nothing else tells of it.
        """
        claim = self._claim(token, now)
        until = max(min(expires, now + _CLAIM_MAX_S), claim.expires if claim and claim.uid == uid else 0)
        self._storage.codes.put(_claimed(token), f"{until} {uid}", until, now)

    def disclaim(self, token: str, uid: str, now: float) -> None:
        """It is this user's no longer, unless a credential that is still good binds it again."""
        claim = self._claim(token, now)
        if claim and claim.uid == uid:
            self._storage.codes.delete(_claimed(token))

    def _claim(self, token: str, now: float) -> "_Claim | None":
        text = self._storage.codes.get(_claimed(token), now)
        if text is None:
            return None
        expires, _, uid = text.partition(" ")
        return _Claim(float(expires), uid)


class _Claim(NamedTuple):
    expires: float  # Unix seconds
    uid: str


def _claimed(token: str) -> str:
    """Key of a claim in `codes`."""
    return f"claimed:{token}"


def ended_login(uid: str, token: str) -> str:
    """Key in `codes` of a login that was ended before its time, so that its credential is refused until then."""
    return f"ended:{len(uid)}:{uid}:{token}"
