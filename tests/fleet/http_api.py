"""A caller of the HTTP API, in the standard library's words."""

import http.client
import json
import os
import subprocess
import sys
from typing import Any, NamedTuple

from tests.fleet.fleet_process import Fleet


class Told(NamedTuple):
    """An answer. `body` is its JSON, or its bytes."""

    status: int
    body: Any
    headers: http.client.HTTPMessage

    @property
    def code(self) -> str:
        """Of a problem; its shape is checked on the way."""
        assert self.headers["Content-Type"] == "application/problem+json"
        assert self.body["status"] == self.status
        assert self.body["type"] == f"urn:push-gateway:problem:{self.body['code']}"
        assert {"title", "detail"} <= self.body.keys()
        assert (self.status == 503) == ("Retry-After" in self.headers)
        return str(self.body["code"])


class Api:
    """Calls with one key, or none; every call on a connection of its own."""

    def __init__(self, fleet: Fleet, key: str = "") -> None:
        self.address = (fleet.host, fleet.api_port)
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Told:
        """`body`: JSON, or bytes as they are. `headers`: Content_Type for Content-Type."""
        said = self.headers | {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        if body is not None:
            said.setdefault("Content-Type", "application/json")
        connection = http.client.HTTPConnection(*self.address, timeout=30)
        try:
            connection.request(method, path, body, said)
            answer = connection.getresponse()
            content = answer.read()
            is_json = answer.headers.get_content_type() in ("application/json", "application/problem+json")
            return Told(answer.status, json.loads(content) if is_json and content else content, answer.headers)
        finally:
            connection.close()

    def push(self, body: Any, **headers: str) -> Told:
        return self("POST", "/v1/pushes", body, **headers)


def make_key(fleet: Fleet, name: str, *scopes: str) -> str:
    """By `pushctl key create`."""
    words = [word for scope in scopes for word in ("--scope", scope)]
    command = [sys.executable, "-m", "services.pushctl.main", "key", "create", name, *words]
    return subprocess.run(
        command, env=fleet.environ, cwd=os.getcwd(), check=True, capture_output=True, text=True
    ).stdout.strip()
