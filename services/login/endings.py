"""The end of sessions: by a client that leaves, or by whoever runs the fleet. From any thread."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from services.library import ClientCall, refusal
from services.login.logins import Storage
from services.storage.interfaces import Session
from services.token_owners import Clearing, Owners, ended_login
from shared.tokens import encode_token

logger = logging.getLogger(__name__)


class Endings:
    """Answers DISCONNECT, and the operations `sessions`, `logout` and `block`."""

    def __init__(
        self,
        storage: Storage,
        clear: Clearing,
        kick: Callable[[Sequence[str]], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`kick`: close the connections of these tokens, wherever they are."""
        self._storage, self._clear, self._kick, self._clock = storage, clear, kick, clock
        self._owners = Owners(storage)

    def disconnect(self, call: ClientCall) -> bytes:
        """DISCONNECT with clearSession: what the client was logged in as ends. The worker closes the connection."""
        if call.uid is not None and call.token is not None:
            self._end(call.uid, call.token)
        return b""

    def sessions(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """{"sessions": [{"token", "created", "expires"}]} of a `uid`, "blocked" or not. Raises Refusal (400)."""
        uid, now = _text(fields, "uid"), self._clock()
        live = [session for session in self._storage.sessions.by_uid(uid) if session.lives(now)]
        return {"sessions": [_shown(session) for session in live], "blocked": self._storage.users.is_blocked(uid)}

    def logout(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """End the session of a `uid` with `token`, or all of the uid: {"ended": how many}. Raises Refusal (400)."""
        uid = _text(fields, "uid")
        if fields.get("token") is not None:
            tokens = [_text(fields, "token")]
        else:
            tokens = [session.client_identifier for session in self._storage.sessions.by_uid(uid)]
        # Before the end, while it is known that they are this user's.
        bound = self._bound(uid, tokens)
        ended = sum([self._end(uid, token) for token in tokens])
        self._kick(bound)
        return {"ended": ended}

    def block(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Refuse a `uid` from now on, or (`blocked` false) no longer; its sessions stay. Raises Refusal (400)."""
        uid, blocked = _text(fields, "uid"), fields.get("blocked")
        if not isinstance(blocked, bool):
            raise refusal(400, "blocked is neither true nor false")
        self._storage.users.block(uid, blocked)
        if blocked:
            self._kick([device.token for device in self._storage.devices.of(uid)])
        return {"blocked": blocked}

    def _bound(self, uid: str, tokens: Sequence[str]) -> list[str]:
        """Those that are this user's: another one's session may have the same client identifier."""
        return [token for token in tokens if self._storage.devices.uid_of(token) == uid]

    def _end(self, uid: str, token: str) -> bool:
        """Whether there was one.

        A token that cannot be cleared now stays this user's device: so nobody else gets what is stored for it (see
        Connects), and the next one who has a session with it has it cleared.
        """
        session, now = self._storage.sessions.get(uid, token), self._clock()
        if session is not None and session.expires is not None and session.lives(now):
            self._storage.codes.put(ended_login(uid, token), "ended", session.expires, now)
        ended = self._storage.sessions.delete(uid, token)
        self._owners.disclaim(token, uid, now)
        if self._storage.devices.uid_of(token) == uid:
            if self._clear(token):
                self._storage.devices.remove(uid, token)
            else:
                logger.warning("what is stored for a token whose session has ended cannot be taken out now")
        return ended


def _shown(session: Session) -> dict[str, Any]:
    """Without its secrets."""
    return {"token": session.client_identifier, "created": session.created, "expires": session.expires}


def _text(fields: Mapping[str, Any], name: str) -> str:
    """A uid or token. Raises Refusal (400)."""
    text = fields.get(name)
    if encode_token(text)[1]:
        raise refusal(400, f"{name} is missing or malformed")
    return str(text)
