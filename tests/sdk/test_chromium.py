"""The JavaScript SDK in a page of a headless Chromium."""

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.examples.browsers import Browser, chromium
from tests.fleet.fleet_process import ROOT, Fleet
from tests.sdk.test_kills import push_through_everything


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def pages() -> Iterator[str]:
    """Where sdk/javascript is served: browsers load no modules from files."""
    handler = functools.partial(_Quiet, directory=str(ROOT / "sdk" / "javascript"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_restart_and_kills(pages: str, tmp_path: Path) -> None:
    with (
        Browser(chromium(), tmp_path) as browser,
        Fleet(services="subscribe,message-cache", worker_heartbeat_ms=100) as fleet,
    ):
        window = browser.open(f"{pages}/package.json")
        window.run(
            f"""import("{pages}/src/index.js").then(({{ Client }}) => {{
                window.got = []
                window.client = new Client("ws://{fleet.host}:{fleet.client_port}/", {{ token: "page" }})
                client.on("push", (push) => got.push(push.text))
                return client.connect()
            }})"""
        )
        window.wait_for("client.status.state === 'connected'")
        expected = push_through_everything(fleet, "page")
        window.wait_for(f"got.length >= {len(expected)}")
        assert window.run("got") == expected
