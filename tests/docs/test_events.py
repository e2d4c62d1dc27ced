"""docs/events.md: its verifications of signatures are run as they stand."""

import json
import subprocess
import time
from shutil import which

import pytest

from services.events.signatures import sign
from tests.docs.documents import blocks, read

SECRET, BODY = b"0123456789abcdef0123456789abcdef", '{"events":[{"id":"ä/1"}]}'.encode()
CASES = [(0, BODY, True), (-301, BODY, False), (0, BODY + b" ", False)]


@pytest.mark.parametrize(("age", "body", "genuine"), CASES)
def test_python_verifies(age: int, body: bytes, genuine: bool) -> None:
    (code,) = blocks(read("events.md"), "python")
    names: dict[str, object] = {}
    exec(code, names)
    headers = sign(SECRET, int(time.time()) + age, BODY)
    assert names["is_genuine"](SECRET, headers, body) is genuine  # type: ignore[operator]


@pytest.mark.skipif(not which("node"), reason="no node on this machine")
def test_node_verifies() -> None:
    (code,) = blocks(read("events.md"), "javascript")
    asked = []
    for age, body, _ in CASES:
        headers = {name.lower(): text for name, text in sign(SECRET, int(time.time()) + age, BODY).items()}
        asked.append(f"isGenuine({json.dumps(SECRET.decode())}, {json.dumps(headers)}, {json.dumps(body.decode())})")
    program = f"{code}\nconsole.log(JSON.stringify([{','.join(asked)}]));"
    done = subprocess.run(["node", "-e", program], capture_output=True, text=True, timeout=30, check=True)
    assert json.loads(done.stdout) == [genuine for *_, genuine in CASES]
