"""The clients of examples/: how they end, and the browser page's script on Node."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.clients.senders import SENT, RawSender
from tests.examples.programs import EXAMPLES, PYTHON_SENDER, Program, listen, send
from tests.fleet.fleet_process import Fleet
from tests.fleet.processes import wait_until

#: As much of a browser as the page needs: each change of its text is a line.
_BROWSER = """\
const inputs = { url: { value: process.argv[2] }, token: { value: process.argv[3] }, form: {},
  log: { prepend: (line) => console.log(line.textContent.replace(/^.*?  /, "")) },
  state: { set textContent(text) { console.log(text) } } }
globalThis.document = { getElementById: (id) => inputs[id], createElement: () => ({}) }
"""
_CONNECT = "\ninputs.form.onsubmit({ preventDefault() {} })\n"


def test_a_client_that_is_replaced_does_not_come_back(example_fleet: Fleet) -> None:
    with listen("shared", *example_fleet.address) as older, listen("shared", *example_fleet.address) as newer:
        assert older.line() == "disconnected: replaced"
        assert older.ended() == 1
        assert send(PYTHON_SENDER, example_fleet.endpoint, "shared still here\n") == ["shared SENT"]
        assert newer.line() == "still here"


def test_a_refused_client_says_why(example_fleet: Fleet) -> None:
    host, port = example_fleet.address
    with Program([*_client(), "x" * 256, host, str(port)]) as client:
        assert client.line() == "refused: 400 token of 256 bytes exceeds the limit of 255"
        assert client.ended() == 1


def test_the_page_listens_acknowledges_and_ends_when_kicked(
    example_fleet: Fleet, tmp_path: Path, node_websocket: str
) -> None:
    script = re.findall(r"<script>(.*)</script>", (EXAMPLES / "client.html").read_text(), re.DOTALL)[0]
    (tmp_path / "page.js").write_text(_BROWSER + script + _CONNECT)
    url = f"ws://{example_fleet.host}:{example_fleet.client_port}/"
    command = [node_websocket, "--experimental-websocket", str(tmp_path / "page.js"), url, "page"]
    with Program(command) as page, RawSender(example_fleet.endpoint) as sender:
        while (line := page.line()) != "listening as page":
            assert "Warning" in line or "--trace-warnings" in line
        for number in range(100):  # more than may be unacknowledged
            payload = b"%d" % number
            wait_until(lambda payload=payload: sender.push("page", payload) == SENT, "room in the window")
            assert page.line() == str(number)
        assert sender.info(b"KICK1", "page") == [True]
        assert page.line() == "closed: 1008 kicked"
        assert page.ended() == 0


@pytest.fixture
def node_websocket() -> str:
    """A Node that has WebSocket. Skips where there is none."""
    node = shutil.which("node")
    if not node:
        pytest.skip("node is not installed")
    command = [node, "--experimental-websocket", "--eval", "new WebSocket('ws://127.0.0.1:1').onerror = () => 0"]
    if subprocess.run(command, capture_output=True, timeout=20, check=False).returncode:
        pytest.skip("this Node has no WebSocket")
    return node


def _client() -> list[str]:
    return [PYTHON_SENDER[0], str(EXAMPLES / "client.py")]
