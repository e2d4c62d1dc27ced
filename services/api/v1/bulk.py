"""POST /v1/pushes/bulk: a line for each push in, a line for each outcome out, however many there are."""

from collections.abc import Callable, Iterator
from typing import Any, Literal

import flask
from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models import RawModel
from pydantic import ConfigDict, Field

from services.api.bodies import leave_unread
from services.api.keys import PUSH
from services.api.problems import Problem
from services.api.v1.access import needs, security
from services.api.v1.lines import Lines, Report
from services.api.v1.parts import Parts, blueprint, origin
from services.api.v1.pushing import ONE_PAYLOAD, PushOptions, ready_sender
from services.api.v1.requests import NDJSON, need_type
from services.api.v1.shapes import Name, Parameters

#: Requests of this kind at a time.
BULKS_MAX = 8
#: Pushes of one of them that are under way.
IN_FLIGHT = 1000
#: Bytes of output that are sent together, unless nothing more comes just now.
_CHUNK_BYTES = 16 << 10


class BulkPush(PushOptions):
    """One line of the body."""

    model_config = ConfigDict(json_schema_extra=ONE_PAYLOAD)

    token: Name


class BulkQuery(Parameters):
    report: Literal["all", "failures"] = Field(
        default="all", description="failures: only lines whose push was not SENT, ACKED, STORED or BUFFERED"
    )


class BulkBody(RawModel):
    mimetypes: list[str] = [NDJSON]  # noqa: RUF012  (flask-openapi3 reads it from the class)


_EXAMPLE = '{"line": 1, "token": "alice", "outcome": "SENT", "id": "..."}\n{"done": true, "lines": 1, "counts": {}}\n'
_ANSWER = {
    "description": "A line for each line, in order; the last one says `done`. Without it, the answer is not whole.",
    "content": {NDJSON: {"schema": {"type": "string"}, "example": _EXAMPLE}},
}


def routes(parts: Parts) -> APIBlueprint:
    """The group of them."""
    group, under_way = blueprint("bulk", "Push many different payloads"), Places(BULKS_MAX)

    @group.post("/pushes/bulk", operation_id="bulk_push", security=security(PUSH), responses={200: _ANSWER})
    @needs(PUSH)
    def bulk_push(query: BulkQuery, raw: BulkBody) -> Response:
        """Push line by line

        The body has a JSON object in each line: token, payload or payload_base64, and options as in POST /v1/pushes.
        Read the answer while you write: at most 1,000 pushes are under way, and no line is read before an older one
        has its outcome.
        """
        need_type(flask.request, NDJSON)
        _need_no_key(flask.request)
        sender = ready_sender(parts.sender)
        under_way.take()
        environ = flask.request.environ
        readline = environ["wsgi.input"].readline
        lines = Lines(sender, readline, BulkPush.model_validate_json, IN_FLIGHT, origin())
        stream = Stream(lines, Report(query.report == "all"), [under_way.give_back, lambda: leave_unread(environ)])
        environ["push.streams"] = True
        return Response(stream, content_type=NDJSON, headers={"Connection": "close", "Cache-Control": "no-store"})

    return group


def _need_no_key(request: flask.Request) -> None:
    """Who sends one expects that a repeat pushes nothing twice, for which there are too many lines. Raises Problem."""
    if "Idempotency-Key" in request.headers:
        what = {"field": "Idempotency-Key", "message": "a bulk push takes none: see Bulk in docs/http-api.md"}
        raise Problem("invalid", f"{what['field']}: {what['message']}", [what])


class Places:
    """A bounded number of them."""

    def __init__(self, most: int) -> None:
        self._free = most

    def take(self) -> None:
        """Raises Problem."""
        if not self._free:
            raise Problem("overloaded", f"{BULKS_MAX} bulk pushes are under way")
        self._free -= 1

    def give_back(self) -> None:
        self._free += 1


class Stream:
    """The body of the answer. `close` is called by the server, also when the client is gone."""

    def __init__(self, lines: Lines, report: Report, at_end: list[Callable[[], Any]]) -> None:
        self._lines, self._report, self._at_end = lines, report, at_end

    def __iter__(self) -> Iterator[bytes]:
        lines, report = self._lines, self._report
        chunk: list[bytes] = []
        size = 0
        lines.start()
        for answered in lines.answered():
            if answered is None:  # nothing more is there just now
                if chunk:
                    yield b"".join(chunk)
                chunk, size = [], 0
                continue
            if told := report.line(answered, lines.sender):
                chunk.append(told)
                size += len(told)
            if size >= _CHUNK_BYTES:
                yield b"".join(chunk)
                chunk, size = [], 0
        chunk.append(report.end(lines.fault))
        yield b"".join(chunk)

    def close(self) -> None:
        self._lines.stop()
        while self._at_end:
            self._at_end.pop()()
