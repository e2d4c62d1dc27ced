"""The three topics of the subscribe service. From any thread."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgpack

from services.library import ClientCall, refusal
from services.storage.events import SUBSCRIBED, Event, Outbox
from services.storage.interfaces import Codes, Devices, Sessions, Users
from services.subscribe.policies import Policy
from services.subscribe.requests import SubscribeRequest, check_owner, parse_request
from services.subscribe.tokens import TokenMaker
from services.token_owners import Clearing, Owners, ended_login
from shared.errors import StorageUnavailable
from shared.tokens import encode_token

_PAGE_MAX = 10_000


class Storage(Protocol):
    """The part that is needed of services.storage."""

    @property
    def sessions(self) -> Sessions: ...
    @property
    def devices(self) -> Devices: ...
    @property
    def users(self) -> Users: ...
    @property
    def codes(self) -> Codes: ...
    @property
    def outbox(self) -> Outbox: ...


class Subscriptions:
    """Answers calls with msgpack maps. `anybody`: a token of a login may be had without it (`open_subscribe`)."""

    def __init__(
        self,
        storage: Storage,
        tokens: TokenMaker,
        policy: Policy,
        anybody: bool,
        clear: Clearing,
        clock: Callable[[], float] = time.time,
        known_s: float = 0.0,
        *,
        tells: bool = False,
    ) -> None:
        """`known_s`: seconds that tokens without a user are known for (`to: all`). `tells`: events are kept."""
        self._storage, self._tokens, self._policy = storage, tokens, policy
        self._anybody, self._clear, self._clock, self._known_s = anybody, clear, clock, known_s
        self._tells = tells
        self._owners = Owners(storage)
        self._making = threading.Lock()

    def subscribe(self, call: ClientCall) -> bytes:
        """SUBSCRIBE: {"token"} of whoever may have it. Raises Refusal (400, 403, 503)."""
        return _answer(self._subscribe, call)

    def members(self, call: ClientCall) -> bytes:
        """MEMBERS: the {"tokens"} of a uid. Raises Refusal."""
        return _answer(self._members, call)

    def tokens(self, call: ClientCall) -> bytes:
        """TOKENS: {"tokens", "more"}, at most `most` behind `after`: of users, and met lately. Raises Refusal."""
        return _answer(self._all, call)

    def devices(self, call: ClientCall) -> bytes:
        """DEVICES, op `list`: {"devices"} of a uid; `forget`: {"forgotten"}, of one token or all. Raises Refusal."""
        return _answer(self._devices, call)

    def _subscribe(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        request, now = parse_request(fields, self._anybody), self._clock()
        self._check_login(request, now)
        if request.token is not None and not self._anybody:
            self._check_owner(request, request.token, now)
        if fault := self._policy(request):
            raise refusal(403, fault)
        token = request.token or self._make(now)
        if request.uid is not None and request.token is not None and not self._anybody:
            self._take_over(request, request.uid, request.token, now)
        if request.uid is not None:
            self._storage.devices.add(request.uid, token, request.protocol, now)
        elif self._known_s:
            self._storage.devices.meet(token, now + self._known_s, now)
        if self._tells:
            self._storage.outbox.put([_event(request, token, int(now * 1000))], int(now * 1000))
        return {"token": token}

    def _check_login(self, request: SubscribeRequest, now: float) -> None:
        """Whether what the client has proved still counts. Raises Refusal (403)."""
        uid, token = request.uid, request.token
        if uid is None or not request.logged_in:
            return
        if self._storage.users.is_blocked(uid):
            raise refusal(403, "this user is blocked")
        if token is not None and self._storage.codes.get(ended_login(uid, token), now):
            raise refusal(403, "this login has ended")

    def _check_owner(self, request: SubscribeRequest, token: str, now: float) -> None:
        """Raises Refusal (403)."""
        check_owner(request, self._owners.owner_of(token, now))
        if not request.logged_in:
            # Also that of a credential, which needs no session, and of a session that has expired.
            check_owner(request, self._storage.devices.uid_of(token))

    def _take_over(self, request: SubscribeRequest, uid: str, token: str, now: float) -> None:
        """It is this user's now, and what is stored for another one is not for this one. Raises Refusal (503)."""
        if self._storage.devices.uid_of(token) not in (None, uid) and not self._clear(token):
            raise refusal(503, "what is stored for another user cannot be taken out now")
        if request.expires is not None:
            self._owners.claim(token, uid, request.expires, now)

    def _make(self, now: float) -> str:
        with self._making:
            return self._tokens.make(int(now * 1000))

    def _members(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        return {"tokens": [device.token for device in self._storage.devices.of(_text(fields, "uid"))]}

    def _all(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        after, most = fields.get("after"), fields.get("most")
        if not isinstance(after, str) or not isinstance(most, int) or not 1 <= most <= _PAGE_MAX:
            raise refusal(400, f"after is no text, or most is not 1 to {_PAGE_MAX}")
        tokens = self._storage.devices.all_tokens(after, most, self._clock())
        return {"tokens": tokens, "more": len(tokens) == most}

    def _devices(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        uid, devices = _text(fields, "uid"), self._storage.devices
        match fields.get("op"):
            case "list":
                return {"devices": [device._asdict() for device in devices.of(uid)]}
            case "forget":
                one = fields.get("token") is not None
                tokens = [_text(fields, "token")] if one else [device.token for device in devices.of(uid)]
                return {"forgotten": sum([self._forget(uid, token) for token in tokens])}
        raise refusal(400, "op is neither list nor forget")

    def _forget(self, uid: str, token: str) -> bool:
        self._owners.disclaim(token, uid, self._clock())
        return self._storage.devices.remove(uid, token)


def _event(request: SubscribeRequest, token: str, at: int) -> Event:
    fields = {
        "uid": request.uid,
        "protocol": request.protocol,
        "address": request.address,
        "made": request.token is None,
        "at": at,
    }
    return Event(f"{token}/{SUBSCRIBED}/{at}", SUBSCRIBED, token, fields)


def _answer(answer: Callable[[Mapping[str, Any]], dict[str, Any]], call: ClientCall) -> bytes:
    try:
        packed: bytes = msgpack.packb(answer(call.fields()))
    except StorageUnavailable as error:
        raise refusal(503, f"storage: {error}") from None
    return packed


def _text(fields: Mapping[str, Any], name: str) -> str:
    """A uid or token. Raises Refusal (400)."""
    text = fields.get(name)
    if encode_token(text)[1]:
        raise refusal(400, f"{name} is missing or malformed")
    return str(text)
