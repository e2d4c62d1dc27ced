"""docs/http-api.md names every route and every code that there is; README's calls of the API run as they stand."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from services.api.key_files import KeyFile
from services.api.problems import CODES
from services.api.v1.access import Access
from services.api.v1.application import make_application
from services.api.v1.calls import Calls
from services.api.v1.parts import Parts
from shared.settings import Settings
from tests.docs.documents import ROOT, read, section
from tests.fleet.fleet_process import Fleet

TEXT = read("http-api.md")


@pytest.mark.parametrize("code", CODES)
def test_code_is_described_with_its_status(code: str) -> None:
    assert f"\n| `{code}` | {CODES[code][0].value} |" in section(TEXT, "## Errors")


def test_routes_are_those_of_the_code(tmp_path: Path) -> None:
    parts = Parts(Settings(), None, Calls(None), dict, Access(KeyFile(tmp_path / "none")))
    application = make_application(parts)
    found = {(method.upper(), path) for path, entry in application.api_doc["paths"].items() for method in entry}
    named = set()
    for row in section(TEXT, "## Routes").splitlines():
        for words, path in re.findall(r"`((?:[A-Z]+`, `)*[A-Z]+) (/v1/[^`]*)`", row.split(" | ")[0]):
            named |= {(method, path) for method in words.replace("`", "").split(", ")}
    assert named == found


def test_calls_in_readme_run_as_they_stand() -> None:
    """With the ports of this test's fleet in place of the defaults."""
    text = section((ROOT / "README.md").read_text(), "## HTTP API")
    commands = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    assert commands
    with Fleet(status=True, services="all") as fleet:
        bin_directory = Path(sys.executable).parent
        for script in commands:
            script = script.replace(":8080", f":{fleet.api_port}").replace(".venv/bin/", f"{bin_directory}/")
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", script],
                env={**fleet.environ, "PYTHONPATH": str(ROOT)} | {"PATH": os.environ["PATH"]},
                cwd=fleet.directory,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
            assert answers
            assert not [answer for answer in answers if "code" in answer or "error" in answer], done.stdout
