"""Questions to the services of the fleet, in msgpack maps, and what their refusals are over HTTP."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import msgpack

from services.api.problems import Problem
from services.library import PublishError
from services.library.calls import REFUSED
from shared.calls import Internal, Topic, internal

#: (topic, body, key) to (code, body), waiting for it: services.api.asking.
Ask = Callable[[Sequence[int], bytes, str], tuple[int, bytes]]

_NAMES = {
    Internal.MEMBERS: "subscribe",
    Internal.DEVICES: "subscribe",
    Internal.GROUP_MEMBERS: "group",
    Internal.GROUPS: "group",
    Internal.LOGIN: "login",
    Internal.PRESENCE: "presence",
}


class Calls:
    """`ask` is None where this host knows no router that takes services."""

    def __init__(self, ask: Ask | None) -> None:
        self._ask = ask

    def fields(self, what: Internal, fields: Mapping[str, Any], key: str) -> dict[str, Any]:
        """The map that a service answers. Calls of one key are done in order. Raises Problem."""
        name = _NAMES[what]
        code, body = self.answer(internal(what), msgpack.packb(dict(fields)), key, name)
        if code == REFUSED:
            _refuse(_map(body) or {}, name)
        answer = _map(body) if code == PublishError.OK else None
        if answer is None:
            raise Problem("unavailable", f"the {name} service answered with code {code:#x}")
        return answer

    def answer(self, topic: Topic, body: bytes, key: str, name: str) -> tuple[int, bytes]:
        """(code, body) of an answer that came from the service itself. Raises Problem."""
        if self._ask is None:
            raise Problem("unavailable", "no router runs on this host")
        code, answer = self._ask(topic, body, key)
        if code == PublishError.QUEUE_FULL:
            raise Problem("overloaded", f"too many calls wait for the {name} service")
        if code == PublishError.NOT_IMPLEMENTED:
            raise Problem("unavailable", f"no {name} service runs")
        if code in (PublishError.TIMED_OUT, PublishError.NOBODY_KNOWS):
            raise Problem("unavailable", f"the {name} service does not answer")
        return code, answer


def _refuse(said: Mapping[str, Any], name: str) -> NoReturn:
    status, message = said.get("status"), str(said.get("message"))
    if status == 404:
        raise Problem("no_such_group", message)
    if status == 409:
        raise Problem("exists", message)
    if status == 400:
        raise Problem("invalid", message, [])
    raise Problem("unavailable", f"the {name} service: {message}")


def _map(body: bytes) -> dict[str, Any] | None:
    try:
        fields = msgpack.unpackb(body)
    except Exception:  # msgpack raises whatever its input leads to
        return None
    return fields if isinstance(fields, dict) else None
