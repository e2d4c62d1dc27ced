"""What the groups of routes are made of and with."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import flask
import ujson
from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from flask_openapi3.types import ResponseDict
from pydantic import BaseModel

from services.api.gates import GIVEN, REQUEST_ID, TRACEPARENT
from services.api.problems import CODES, MEDIA_TYPE
from services.api.v1.access import Access
from services.api.v1.calls import Calls
from services.sender.gevent import Sender
from shared.durations import Durations
from shared.origins import Origin
from shared.settings import Settings


@dataclass(frozen=True, slots=True)
class Parts:
    """`sender` is None on a host without routers. `figures`: those of STAT1; may raise SenderError."""

    settings: Settings
    sender: Sender | None
    calls: Calls
    figures: Callable[[], dict[str, Any]]
    access: Access
    #: From a push's request to its outcome.
    push_times: Durations = field(default_factory=Durations)


def blueprint(name: str, about: str) -> APIBlueprint:
    """An empty group of routes below /v1."""
    return APIBlueprint(
        name, __name__, url_prefix="/v1", abp_tags=[Tag(name=name, description=about)], abp_responses=_PROBLEMS
    )


def request_id() -> str:
    """That of the request at hand."""
    return str(flask.request.environ.get(REQUEST_ID, ""))


def origin() -> dict[str, Any]:
    """Where its pushes come from, as options; empty: nobody has said, or keeps the trace.

    A request id that was made here stays here: pushes that differ in theirs share no request to the router, and then
    one that comes alone costs router and worker 150 us in place of 60 (`python -m benchmarks.http_pushes`, 64 callers).
    """
    environ = flask.request.environ
    found = Origin(request_id() if environ.get(GIVEN) else "", environ.get(TRACEPARENT, ""))
    if not found.request_id and not found.sampled:
        return {}
    return {name: text for name, text in found._asdict().items() if text}


def answer(body: dict[str, Any] | BaseModel, status: int = 200) -> Response:
    """As JSON."""
    fields = body.model_dump() if isinstance(body, BaseModel) else body
    content = ujson.dumps(fields, ensure_ascii=False, escape_forward_slashes=False).encode("utf-8", "replace") + b"\n"
    return Response(content, status, [("Cache-Control", "no-store")], content_type="application/json")


def _problem_responses() -> ResponseDict:
    """For the specification: each status with its codes."""
    found: dict[str, Any] = {}
    for code, (status, _) in CODES.items():
        entry = found.setdefault(str(status.value), [status.phrase])
        entry.append(code)
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {"description": f"{phrase}: {', '.join(codes)}", "content": {MEDIA_TYPE: {"schema": schema}}}
        for status, (phrase, *codes) in found.items()
    }


_PROBLEMS = _problem_responses()
