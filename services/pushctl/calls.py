"""Calls of `pushctl` to the services of a fleet on this host."""

from collections.abc import Mapping
from typing import Any

import msgpack

from services.library import PublishError, Service
from services.library.calls import REFUSED
from services.pushctl.faults import FAILED, UNREACHABLE, USAGE, Fault
from shared.calls import Internal, internal
from shared.startup.environment import read_settings

_NAMES = {
    Internal.MEMBERS: "subscribe",
    Internal.GROUP_MEMBERS: "group",
    Internal.GROUPS: "group",
    Internal.LOGIN: "login",
    Internal.PRESENCE: "presence",
}


def ask(what: Internal, fields: Mapping[str, Any], key: str, timeout: float) -> dict[str, Any]:
    """The map that a service of the fleet answers. Raises Fault."""
    try:
        body = msgpack.packb(dict(fields))
        key.encode()
    except UnicodeEncodeError:
        raise Fault("an argument is not UTF-8", USAGE) from None
    service = Service("pushctl", read_settings())
    service.start()
    try:
        code, body = service.ask(internal(what), body, key=key, timeout_s=timeout)
    finally:
        service.stop(0)
    name = _NAMES[what]
    if code == PublishError.NOT_IMPLEMENTED:
        raise Fault(f"no {name} service runs", UNREACHABLE)
    if code == PublishError.TIMED_OUT:
        raise Fault(f"the {name} service does not answer: is the fleet running?", UNREACHABLE)
    answer = msgpack.unpackb(body) if code in (0, REFUSED) else None
    if code == REFUSED and isinstance(answer, dict):
        raise Fault(str(answer.get("message")), FAILED)
    if not isinstance(answer, dict):
        raise Fault(f"the {name} service answered with code {code:#x}", FAILED)
    return answer


def tokens_of(kind: str, name: str, timeout: float) -> list[str]:
    """All tokens of a `user` or a `group`. Raises Fault."""
    if kind == "user":
        return list(ask(Internal.MEMBERS, {"uid": name}, name, timeout)["tokens"])
    found = ask(Internal.GROUP_MEMBERS, {"group": name}, name, timeout)
    if not found["exists"]:
        raise Fault("no such group", FAILED)
    return list(found["tokens"])
