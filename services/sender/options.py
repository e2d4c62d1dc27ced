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

    def with_id(self, key: bytes) -> bytes:
        """The options frame of a request with this `id`."""
        return b'%b"%b"}' % (self.head, key)


def encode_options(options: Mapping[str, Any]) -> OptionSet:
    """Checked options. `id` is the library's own. Raises SenderError `bad_options` that names the option."""
    if "id" in options:
        raise SenderError("bad_options", "id is set by the sender itself")
    try:
        raw = ujson.dumps(dict(options)).encode()
        checked = parse_options(raw)
    except RequestError as error:
        raise SenderError(error.code, error.message) from None
    except (TypeError, ValueError, OverflowError) as error:
        raise SenderError("bad_options", f"options are not JSON: {error}") from None
    head = raw[:-1] + (b"," if options else b"") + b'"id":'
    return OptionSet(head, checked.to != "token", checked.timeout_ms / 1000)


DEFAULT = encode_options({})
