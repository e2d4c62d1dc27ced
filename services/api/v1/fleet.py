"""/v1/fleet and /v1/workers: the fleet's figures, and taking a worker out."""

import contextlib

from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from pydantic import Field

from services.api.drains import Drains
from services.api.keys import ADMIN, READ
from services.api.problems import Problem
from services.api.v1.access import needs, security
from services.api.v1.parts import Parts, answer, blueprint
from services.api.v1.shapes import Answer, Name, Parameters
from shared import places
from shared.errors import SenderError


class Figures(Answer):
    """Those of STAT1 (docs/operations.md, section Figures)."""


class Leaving(Answer):
    worker: str
    state: str = Field(description="leaving: it hands its clients over, and ends")


class WorkerPath(Parameters):
    worker: Name = Field(description="host/1, with the slash as %2F; gateway-1 or 1: of this host")


def routes(parts: Parts) -> APIBlueprint:
    """The group of them."""
    group, drains = blueprint("fleet", "The fleet itself"), Drains(parts.settings)

    @group.get("/fleet", operation_id="get_fleet", security=security(READ), responses={200: Figures})
    @needs(READ)
    def get_fleet() -> Response:
        """Show the fleet's figures"""
        try:
            return answer(parts.figures())
        except SenderError as error:
            raise Problem("unavailable", error.message) from None

    @group.post(
        "/workers/<part:worker>/drain", operation_id="drain", security=security(ADMIN), responses={202: Leaving}
    )
    @needs(ADMIN)
    def drain(path: WorkerPath) -> Response:
        """Have a worker of this host hand its clients to the others, and end

        It stays away until `pushctl start`. A worker of another host is told by the API of that one: 421 here.
        """
        _check_host(parts, path.worker)
        index = _index(path.worker, parts.settings.host_name)
        name = places.worker_name(parts.settings, index)
        _check_state(parts, name)
        drains.tell_to_leave(index)
        return answer({"worker": name, "state": "leaving"}, 202)

    return group


def _check_host(parts: Parts, worker: str) -> None:
    """It is of this host, or unknown: processes elsewhere can be told to end only there. Raises Problem."""
    host, slash, _ = worker.rpartition("/")
    if not slash or host == parts.settings.host_name:
        return
    with contextlib.suppress(SenderError):
        if worker in parts.figures()["workers"]:
            raise Problem("other_host", f"{worker} runs on {host}: ask the API of that host, or pushctl drain there")


def _check_state(parts: Parts, name: str) -> None:
    """Somebody else may have told it. Raises Problem."""
    try:
        worker = parts.figures()["workers"].get(name, {})
    except SenderError:
        return  # where no router answers, it can be told all the same
    if worker.get("state") == "leaving":
        raise Problem("already_leaving", f"{name} is leaving")


def _index(worker: str, host_name: str) -> int:
    """1 of `host/1`, `gateway-1` and `1`. Raises Problem."""
    host, slash, number = worker.rpartition("/")
    number = number if slash else number.removeprefix("gateway-")
    if (slash and host != host_name) or not (number.isascii() and number.isdecimal() and len(number) < 6):
        raise Problem("no_such_worker", f"{worker} is no worker of this host, {host_name}")
    return int(number)
