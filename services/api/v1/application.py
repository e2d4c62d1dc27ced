"""The application of /v1: its groups of routes, its specification, and what becomes of errors.

A new group is a module with `routes(parts)` and a line in GROUPS.
"""

import logging
from collections.abc import Callable
from typing import Any

import flask
from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.info import Info
from flask_openapi3.openapi import OpenAPI
from pydantic import ValidationError
from werkzeug.exceptions import HTTPException
from werkzeug.routing import BaseConverter

from services.api.handlers import SLASH
from services.api.problems import Problem
from services.api.request_ids import ROUTE
from services.api.v1 import bulk, connections, explanations, fleet, groups, messages, pushes, shapes, users
from services.api.v1.access import check_query
from services.api.v1.parts import Parts, request_id
from services.api.v1.requests import Request
from shared import __version__
from shared.log_events import Event

logger = logging.getLogger(__name__)

GROUPS: tuple[Callable[[Parts], APIBlueprint], ...] = (
    pushes.routes,
    bulk.routes,
    connections.routes,
    groups.routes,
    users.routes,
    messages.routes,
    explanations.routes,
    fleet.routes,
)

_ABOUT = """\
Push to clients of the gateway, look where they are, and manage groups, users and workers.

Errors are problem details (RFC 9457) with a stable `code`. A slash in a token or name in a path is written %2F.
"""
_ERRORS_MAX = 20
_BY_STATUS = {404: "no_such_path", 405: "method_not_allowed", 413: "too_large"}


class PartConverter(BaseConverter):
    """One part of a path, which may hold slashes that were written as %2F."""

    def to_python(self, value: str) -> str:
        return value.replace(SLASH, "/")


class _Application(OpenAPI):
    request_class = Request

    def generate_spec_json(self) -> None:
        """flask-openapi3 writes 0 as 0.0."""
        super().generate_spec_json()  # type: ignore[no-untyped-call]
        self.spec_json = _with_whole_numbers(self.spec_json)


def make_application(parts: Parts) -> OpenAPI:
    """WSGI, for paths below /v1."""
    app = _Application(
        __name__,
        info=Info(title="push-gateway", version=__version__, description=_ABOUT),
        security_schemes={"key": {"type": "http", "scheme": "bearer", "description": "pushctl key create"}},
        validation_error_status=422,
        validation_error_model=shapes.Problem,
        validation_error_callback=_invalid,
        doc_prefix="/v1",
        doc_url="/openapi.json",
        static_folder=None,
    )
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.url_map.converters["part"] = PartConverter
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = False
    app.before_request(_note_route)
    app.before_request(parts.access.check)
    app.before_request(check_query)
    app.register_error_handler(Problem, _answer)
    app.register_error_handler(Exception, _unforeseen)
    for routes in GROUPS:
        app.register_api(routes(parts))
    return app


def _note_route() -> None:
    """For whoever tells of the request: flask alone knows."""
    flask.request.environ[ROUTE] = str(flask.request.url_rule or "")


def _with_whole_numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_whole_numbers(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_with_whole_numbers(entry) for entry in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _invalid(error: ValidationError) -> Response:
    """Raises Problem."""
    found = error.errors(include_url=False, include_context=False, include_input=False)[:_ERRORS_MAX]
    errors = [{"field": _field(one), "message": _message(one)} for one in found]
    first = errors[0]
    where = f"{first['field']}: " if first["field"] else ""
    raise Problem("invalid", where + first["message"], errors) from None


def _field(error: Any) -> str:
    """Where it is, without what pydantic says of the choices in a union."""
    plain = error["type"] == "extra_forbidden"
    return ".".join(
        [
            str(part)
            for part in error["loc"]
            if plain or str(part).isidentifier() or str(part) == "Idempotency-Key" or type(part) is int
        ]
    )


def _message(error: Any) -> str:
    return str(error["msg"]).removeprefix("Value error, ")


def _answer(problem: Problem) -> Response:
    response = Response(problem.content(request_id()), problem.status.value)
    for name, value in problem.headers():
        response.headers[name] = value
    return response


def _unforeseen(error: Exception) -> Any:
    """HTTP's own errors, and our bugs."""
    if not isinstance(error, HTTPException):
        request = Event("request", request_id=request_id(), method=flask.request.method, path=flask.request.path[:256])
        logger.error(request, exc_info=error)
        return _answer(Problem("internal", "see the log of the API"))
    if error.code is None or error.code < 400:
        return error
    code = _BY_STATUS.get(error.code, "bad_request" if error.code < 500 else "internal")
    response = _answer(Problem(code, f"{flask.request.method} {flask.request.path[:256]}"))
    for name, value in error.get_headers(flask.request.environ):
        if name.lower() == "allow":
            response.headers[name] = value
    return response
