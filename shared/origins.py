"""Where a push comes from, as its sender says: a request id for logs, a W3C trace context for traces (docs/logs.md).

Both are optional, travel beside the push to its worker, and change nothing of what becomes of it.
"""

import re
from typing import NamedTuple

REQUEST_ID_MAX = 64
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/@+=#-]{1,64}", re.ASCII)
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_SAMPLED = 1


class Origin(NamedTuple):
    """`request_id` and `traceparent` of a push; empty where there is none."""

    request_id: str = ""
    traceparent: str = ""

    @property
    def sampled(self) -> bool:
        """Whether somebody keeps the trace that it belongs to."""
        return bool(self.traceparent) and bool(int(self.traceparent[-2:], 16) & _SAMPLED)

    @property
    def shown(self) -> str:
        """For log lines: the request id, or where none was given, the trace's."""
        return self.request_id or self.traceparent[3:35]


def is_request_id(text: str) -> bool:
    """Whether this may stand in a log line and a header as it is: 1 to 64 letters, digits and ._:/@+=#-"""
    return _REQUEST_ID.fullmatch(text) is not None


def is_traceparent(text: str) -> bool:
    """Whether this is a `traceparent` of version 00 (W3C Trace Context, section 3.2)."""
    return len(text) == 55 and text.startswith("00-") and _TRACEPARENT.fullmatch(text) is not None


def known_traceparent(text: str) -> str:
    """A traceparent as version 00, also of a later version, of which the first fields are the same; else empty."""
    text = text.strip()
    known, more = text[:55], text[55:]
    if _TRACEPARENT.fullmatch(known) is None or (more and (more[0] != "-" or text.startswith("00"))):
        return ""
    return f"00{known[2:]}"


def record_request_id(topic: str, partition: int, offset: int) -> str:
    """The request id of a Kafka record that brings none: TOPIC/PARTITION/OFFSET, a long topic without its beginning."""
    place = f"/{partition}/{offset}"
    return topic[-(REQUEST_ID_MAX - len(place)) :] + place
