"""CONNECT, as clients of the gateway ask for it. From any thread."""

import hmac
import time
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Any

import ujson

from services.library import ClientCall, Returned
from services.login.logins import Storage
from services.login.settings import Keys
from services.login.tokens import is_usertoken_of, open_password, session_key
from services.storage.interfaces import Session
from services.token_owners import Clearing, Owners
from shared.errors import StorageUnavailable
from shared.signals import SubSignal


class Connects:
    """Answers CONNECT by the sub_signal of its CONNECT_ACK."""

    def __init__(self, storage: Storage, keys: Keys, clear: Clearing, clock: Callable[[], float] = time.time) -> None:
        self._storage, self._keys, self._clear, self._clock = storage, keys, clear, clock
        self._owners = Owners(storage)

    def connect(self, call: ClientCall) -> Returned:
        """1 and who it is, or 3 to 8."""
        try:
            return self._connect(call)
        except StorageUnavailable:
            return Returned(SubSignal.CONNECTION_REFUSED_SERVER_UNAVAILABLE)

    def _connect(self, call: ClientCall) -> Returned:
        said, now = call.json(), self._clock()
        uid, token = str(said.get("userName")), str(said.get("clientIdentifier"))
        session = self._storage.sessions.get(uid, token)
        if session is None or not session.lives(now):
            return Returned(SubSignal.CONNECTION_REFUSED_SESSION_NOT_EXIST)
        if not self._is_password(str(said.get("password")), session):
            return Returned(SubSignal.CONNECTION_REFUSED_BAD_USER_NAME_OR_PASSWORD)
        if self._storage.users.is_blocked(uid):
            return Returned(SubSignal.CONNECTION_REFUSED_NOT_AUTHORIZED)
        if self._owners.owner_of(token, now) != uid:
            return Returned(SubSignal.CONNECTION_REFUSED_IDENTIFIER_REJECTED)
        if self._storage.devices.uid_of(token) not in (None, uid) and not self._clear(token):
            # What is stored is for a user whose session has expired.
            return Returned(SubSignal.CONNECTION_REFUSED_SERVER_UNAVAILABLE)
        self._storage.devices.add(uid, token, str(call.head.get("protocol") or ""), now)
        return Returned(SubSignal.CONNECTION_ACCEPTED, _accepted(session, now))

    def _is_password(self, password: str, session: Session) -> bool:
        """Its usertoken under its key. That key has 16 random characters: there is no guessing it."""
        opened = open_password(password, session_key(session.secret))
        expected = b64decode(session.usertoken)
        good = opened is not None and hmac.compare_digest(opened, expected)
        return good and is_usertoken_of(expected, session.uid, self._keys.signing)


def _accepted(session: Session, now: float) -> bytes:
    ack: dict[str, Any] = {"serverTime": int(now * 1000)}
    answer = {
        "uid": session.uid,
        "token": session.client_identifier,
        "session_key": b64encode(session_key(session.secret)).decode(),
        "expires": session.expires,
        "ack": ack,
    }
    return ujson.dumps(answer).encode()
