"""The three topics of the subscribe service. From any thread."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgpack

from services.library import ClientCall, refusal
from services.storage.interfaces import Devices, Sessions
from services.subscribe.policies import Policy
from services.subscribe.requests import check_owner, parse_request
from services.subscribe.tokens import TokenMaker
from shared.errors import StorageUnavailable
from shared.tokens import encode_token


class Storage(Protocol):
    """The part that is needed of services.storage."""

    @property
    def sessions(self) -> Sessions: ...
    @property
    def devices(self) -> Devices: ...


class Subscriptions:
    """Answers calls with msgpack maps. `anybody`: a token of a login may be had without it (`open_subscribe`)."""

    def __init__(
        self,
        storage: Storage,
        tokens: TokenMaker,
        policy: Policy,
        anybody: bool,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._storage, self._tokens, self._policy = storage, tokens, policy
        self._anybody, self._clock = anybody, clock
        self._making = threading.Lock()

    def subscribe(self, call: ClientCall) -> bytes:
        """SUBSCRIBE: {"token"} of whoever may have it. Raises Refusal (400, 403, 503)."""
        return _answer(self._subscribe, call)

    def members(self, call: ClientCall) -> bytes:
        """MEMBERS: the {"tokens"} of a uid. Raises Refusal."""
        return _answer(self._members, call)

    def devices(self, call: ClientCall) -> bytes:
        """DEVICES, op `list`: {"devices"} of a uid; `forget`: {"forgotten"}, of one token or all. Raises Refusal."""
        return _answer(self._devices, call)

    def _subscribe(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        request, now = parse_request(fields, self._anybody), self._clock()
        if request.token is not None and not self._anybody:
            check_owner(request, self._storage.sessions.owner_of(request.token, now))
        if fault := self._policy(request):
            raise refusal(403, fault)
        token = request.token or self._make(now)
        if request.uid is not None:
            self._storage.devices.add(request.uid, token, request.protocol, now)
        return {"token": token}

    def _make(self, now: float) -> str:
        with self._making:
            return self._tokens.make(int(now * 1000))

    def _members(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        return {"tokens": [device.token for device in self._storage.devices.of(_text(fields, "uid"))]}

    def _devices(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        uid, devices = _text(fields, "uid"), self._storage.devices
        match fields.get("op"):
            case "list":
                return {"devices": [device._asdict() for device in devices.of(uid)]}
            case "forget":
                one = fields.get("token") is not None
                tokens = [_text(fields, "token")] if one else [device.token for device in devices.of(uid)]
                return {"forgotten": sum([devices.remove(uid, token) for token in tokens])}
        raise refusal(400, "op is neither list nor forget")


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
