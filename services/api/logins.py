"""POST /login and /send_code (docs/client-protocol.md, section Login): HTTP in, a call to the login service out."""

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple

import msgpack
import ujson

from services.api import bodies
from services.api.addresses import client_address
from shared.calls import Internal, internal
from shared.settings import split

#: Longer bodies are turned away unread.
BODY_MAX = 4096
#: Seconds in which a body has to be here.
BODY_S = 10.0
_FIELDS = ("mobile", "code", "clientId")
_UNAVAILABLE_S = 1

#: (topic, body, key) to (code, body): Service.ask, in a thread that may wait.
Ask = Callable[[Sequence[int], bytes, str], tuple[int, bytes]]


class PostAnswer(NamedTuple):
    """What is answered. `retry_after_s` None: no such header."""

    status: HTTPStatus
    body: dict[str, Any]
    retry_after_s: int | None = None


class LoginRoutes:
    """Answers the POSTs of clients. `trusted_proxies`: as the setting has them."""

    def __init__(self, ask: Ask, trusted_proxies: str) -> None:
        self._ask = ask
        self._proxies = [ipaddress.ip_network(network) for network in split(trusted_proxies)]
        self.paths = {"/login": "login", "/send_code": "send_code"}

    def answer(self, environ: Mapping[str, Any]) -> PostAnswer:
        """A POST to one of `paths`."""
        length = str(environ.get("CONTENT_LENGTH") or "")
        if not (length.isascii() and length.isdecimal()):
            return _fault(HTTPStatus.LENGTH_REQUIRED, "Content-Length is missing")
        size = bodies.announced(length, BODY_MAX)
        if size > BODY_MAX:
            return _fault(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"body of {length[:20]} bytes exceeds {BODY_MAX}")
        try:
            body = bodies.read(environ["wsgi.input"], size, BODY_S)
        except bodies.BrokenBodyError:
            return _fault(HTTPStatus.BAD_REQUEST, "the body breaks off")
        if body is None:
            return _fault(HTTPStatus.REQUEST_TIMEOUT, "the body did not come")
        try:
            fields = ujson.loads(body.decode())
        except (ValueError, RecursionError):
            fields = None
        if not isinstance(fields, dict):
            return _fault(HTTPStatus.BAD_REQUEST, "body is not a JSON object")
        said = {name: fields[name] for name in _FIELDS if type(fields.get(name)) in (str, int)}
        return self._forward(self.paths[environ["PATH_INFO"]], said, self._address(environ))

    def _forward(self, operation: str, fields: dict[str, Any], address: str) -> PostAnswer:
        try:
            body = msgpack.packb({"op": operation, "address": address, **fields})
        except (ValueError, OverflowError):  # half a surrogate pair; a number of more than 64 bits
            return _fault(HTTPStatus.BAD_REQUEST, "a field holds what cannot be")
        code, answer = self._ask(internal(Internal.LOGIN), body, str(fields.get("mobile") or ""))
        said = _map(answer)
        if code != 0 or type(said.get("code")) is not int:
            body_503 = {"code": 1, "message": "the login service does not answer"}
            return PostAnswer(HTTPStatus.SERVICE_UNAVAILABLE, body_503, _UNAVAILABLE_S)
        retry_after_s = said.pop("retry_after_s", None)
        return PostAnswer(HTTPStatus.TOO_MANY_REQUESTS if retry_after_s else HTTPStatus.OK, said, retry_after_s)

    def _address(self, environ: Mapping[str, Any]) -> str:
        peer, forwarded = environ.get("REMOTE_ADDR"), environ.get("HTTP_X_FORWARDED_FOR")
        return client_address(str(peer or ""), str(forwarded or ""), self._proxies)


def _fault(status: HTTPStatus, message: str) -> PostAnswer:
    return PostAnswer(status, {"code": 1, "message": message})


def _map(body: bytes) -> dict[str, Any]:
    try:
        fields = msgpack.unpackb(body)
    except Exception:  # msgpack raises whatever its input leads to
        return {}
    return fields if isinstance(fields, dict) else {}
