"""Logging in by a code, and out again. From any thread."""

import hmac
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from services.login.channels import Channel, ChannelError
from services.login.requests import BadRequestError, LoginRequest, parse_login, parse_mobile, rate_key
from services.login.settings import Credentials, Keys
from services.login.tokens import LoginToken, make_secret, make_usertoken, seal_token
from services.storage.interfaces import Codes, Devices, Limits, Session, Sessions, Users
from services.token_owners import ended_login

logger = logging.getLogger(__name__)

_HOUR_S = 3600.0
#: A code has no leading zero: clients send it as a number too.
_CODES = range(100_000, 1_000_000)


class Storage(Protocol):
    """The part that is needed of services.storage."""

    @property
    def sessions(self) -> Sessions: ...
    @property
    def users(self) -> Users: ...
    @property
    def devices(self) -> Devices: ...
    @property
    def limits(self) -> Limits: ...
    @property
    def codes(self) -> Codes: ...


class Rules(NamedTuple):
    """Settings of logins."""

    session_s: int  # 0: for ever
    code_ttl_s: int
    tries_max: int  # of one number, while a code is good
    codes_per_hour: int  # of one number
    address_per_hour: int  # requests of one address
    demo_codes: Mapping[str, str]


#: What is answered: `code` 0 and a result, or `code` 1 and why not; `retry_after_s` where it is a matter of time.
Answer = dict[str, Any]


class Logins:
    """Answers `login` and `send_code`."""

    def __init__(
        self,
        storage: Storage,
        keys: Keys,
        rules: Rules,
        channel: Channel,
        credentials: Credentials | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._storage, self._keys, self._rules, self._channel = storage, keys, rules, channel
        self._credentials, self._clock = credentials, clock

    def send_code(self, fields: Mapping[str, Any]) -> Answer:
        """Send a new code to a number, in place of an earlier one."""
        try:
            mobile = parse_mobile(fields)
        except BadRequestError as error:
            return _refused(str(error))
        # The address first: whoever is over its limit must not use up that of a number.
        if not self._may_from(fields) or not self._may(f"send:{mobile}", self._rules.codes_per_hour):
            return _later(_HOUR_S)
        if mobile not in self._rules.demo_codes:
            now, code = self._clock(), str(secrets.choice(_CODES))
            self._storage.codes.put(mobile, code, now + self._rules.code_ttl_s, now)
            try:
                self._channel.send(mobile, code)
            except ChannelError as error:
                logger.warning("%s", error)
                return _refused("the code could not be sent: try again")
        return {"code": 0, "message": "success"}

    def login(self, fields: Mapping[str, Any]) -> Answer:
        """A session for whoever has the code of a number."""
        try:
            request = parse_login(fields)
        except BadRequestError as error:
            return _refused(str(error))
        if not self._may_from(fields):
            return _later(_HOUR_S)
        window_s = float(self._rules.code_ttl_s)
        if not self._may(f"login:{request.mobile}", self._rules.tries_max, window_s):
            return _later(window_s)
        if not self._is_code(request):
            return _refused("wrong code")
        uid, is_new = self._storage.users.user_by_mobile(request.mobile, lambda: secrets.token_hex(16))
        if self._storage.users.is_blocked(uid):
            return _refused("this user is blocked")
        return {"code": 0, "message": "success", "result": self._open(request, uid, is_new)}

    def _open(self, request: LoginRequest, uid: str, is_new: bool) -> dict[str, Any]:
        now, session_s = self._clock(), self._rules.session_s
        token = LoginToken(
            make_usertoken(uid, now, secrets.token_bytes(8), self._keys.signing),
            make_secret(secrets.choice),
            make_secret(secrets.choice),
        )
        expires = now + session_s if session_s else None
        identifier = request.client_identifier
        session = Session(uid, identifier, token.secret, token.usertoken, now, expires, request.mobile)
        self._storage.sessions.put(session, now)
        self._storage.codes.delete(ended_login(uid, identifier))
        result = {"userId": uid, "token": seal_token(token, now, self._keys.client), "register": is_new}
        if self._credentials and expires is not None:
            result["credential"] = self._credentials(uid, identifier, int(expires))
        return result

    def _is_code(self, request: LoginRequest) -> bool:
        """A code is good once; those of demo numbers always are."""
        demo = self._rules.demo_codes.get(request.mobile)
        code = demo or self._storage.codes.get(request.mobile, self._clock())
        if code is None or not hmac.compare_digest(code, request.code):
            return False
        return demo is not None or self._storage.codes.delete(request.mobile)

    def _may(self, key: str, most: int, window_s: float = _HOUR_S) -> bool:
        return self._storage.limits.tries(key, window_s, self._clock()) <= most

    def _may_from(self, fields: Mapping[str, Any]) -> bool:
        address = str(fields.get("address") or "")
        return not address or self._may(f"from:{rate_key(address)}", self._rules.address_per_hour)


def _refused(why: str) -> Answer:
    return {"code": 1, "message": why}


def _later(seconds: float) -> Answer:
    return {"code": 1, "message": "too many tries: come back later", "retry_after_s": int(seconds)}
