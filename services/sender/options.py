"""Options of a push, encoded once and shared by all pushes that have them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import ujson

from shared.errors import RequestError, SenderError
from shared.origins import Origin
from shared.requests import parse_options

#: Options that say where a push comes from; a router of an older version does not know them.
ORIGIN = ("request_id", "traceparent")


@dataclass(frozen=True, slots=True, eq=False)
class OptionSet:
    """Options ready to be sent. Compared by identity: pushes of one set may share a request."""

    head: bytes  # the JSON object up to the value of `id`
    to_many: bool  # to all, a user or a group: one push in a request
    timeout_s: float
    key: str | None = None  # the caller's own `id`: all pushes of the set are one request
    origin: Origin | None = None

    def with_id(self, key: str, tells_origin: bool = True, sent_at: int = 0) -> bytes:
        """The options frame of a request with this `id`. `tells_origin`: the router knows such options.

        `sent_at`: Unix us, 0: it is not said.
        """
        head = self.head
        if tells_origin and self.origin is not None:
            said = [f'"{name}":"{text}",' for name, text in zip(ORIGIN, self.origin, strict=True) if text]
            head = b"{" + "".join(said).encode() + head[1:]  # no character in these needs an escape
        said_at = b',"sent_at":%d' % sent_at if sent_at else b""
        return b"%b%b%b}" % (head, ujson.dumps(key).encode(), said_at)

    def of(self, origin: Origin) -> "OptionSet":
        """The same, for pushes that come from there."""
        return replace(self, origin=origin)


def encode_options(options: Mapping[str, Any], key: str | None = None) -> OptionSet:
    """Checked options. `id` is the library's own, or `key`. Raises SenderError `bad_options` that names the option."""
    for own in ("id", "sent_at"):
        if own in options:
            raise SenderError("bad_options", f"{own} is set by the sender itself")
    origin, plain = split_origin(options)
    try:
        raw = ujson.dumps(plain).encode()
        checked = parse_options(raw if key is None else ujson.dumps({**plain, "id": key}).encode())
    except RequestError as error:
        raise SenderError(error.code, error.message) from None
    except (TypeError, ValueError, OverflowError) as error:
        raise SenderError("bad_options", f"options are not JSON: {error}") from None
    head = raw[:-1] + (b"," if plain else b"") + b'"id":'
    return OptionSet(head, checked.to != "token", checked.timeout_ms / 1000, key, origin)


def split_origin(options: Mapping[str, Any]) -> tuple[Origin | None, dict[str, Any]]:
    """Where pushes come from, and the other options. Raises SenderError `bad_options`."""
    said = {name: options[name] for name in ORIGIN if options.get(name) is not None}
    if not said:
        return None, {name: value for name, value in options.items() if name not in ORIGIN}
    try:
        origin = parse_options(ujson.dumps(said).encode()).origin
    except RequestError as error:
        raise SenderError(error.code, error.message) from None
    except (TypeError, ValueError, OverflowError) as error:
        raise SenderError("bad_options", f"options are not JSON: {error}") from None
    return origin, {name: value for name, value in options.items() if name not in ORIGIN}


DEFAULT = encode_options({})
