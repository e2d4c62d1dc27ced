"""Options of a push, encoded once and shared by all pushes that have them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ujson

from shared.errors import RequestError, SenderError
from shared.requests import parse_options


@dataclass(frozen=True, slots=True, eq=False)
class OptionSet:
    """Options ready to be sent. Compared by identity: pushes of one set may share a request."""

    head: bytes  # the JSON object up to the value of `id`
    to_many: bool  # to all, a user or a group: one push in a request
    timeout_s: float
    key: str | None = None  # the caller's own `id`: all pushes of the set are one request

    def with_id(self, key: str) -> bytes:
        """The options frame of a request with this `id`."""
        return b"%b%b}" % (self.head, ujson.dumps(key).encode())


def encode_options(options: Mapping[str, Any], key: str | None = None) -> OptionSet:
    """Checked options. `id` is the library's own, or `key`. Raises SenderError `bad_options` that names the option."""
    if "id" in options:
        raise SenderError("bad_options", "id is set by the sender itself")
    try:
        raw = ujson.dumps(dict(options)).encode()
        checked = parse_options(raw if key is None else ujson.dumps({**options, "id": key}).encode())
    except RequestError as error:
        raise SenderError(error.code, error.message) from None
    except (TypeError, ValueError, OverflowError) as error:
        raise SenderError("bad_options", f"options are not JSON: {error}") from None
    head = raw[:-1] + (b"," if options else b"") + b'"id":'
    return OptionSet(head, checked.to != "token", checked.timeout_ms / 1000, key)


DEFAULT = encode_options({})
