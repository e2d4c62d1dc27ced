"""The Python SDK is tested as it lies in the tree, the JavaScript SDK as npm makes it ready elsewhere."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fleet.fleet_process import ROOT

SDK = ROOT / "sdk"

sys.path.insert(0, str(SDK / "python" / "src"))


def npm_run(directory: Path, *words: str) -> None:
    """npm, which must succeed."""
    command = [str(shutil.which("npm")), *words]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=100, check=False)
    assert not done.returncode, f"npm {words}: {done.stdout}{done.stderr}"


@pytest.fixture(scope="session")
def javascript_sdk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of sdk/javascript after `npm ci`."""
    if not shutil.which("npm"):
        assert not os.environ.get("CI"), "npm is not installed"
        pytest.skip("npm is not installed")
    directory = tmp_path_factory.mktemp("sdk") / "javascript"
    shutil.copytree(SDK / "javascript", directory, ignore=shutil.ignore_patterns("node_modules", "types"))
    npm_run(directory, "ci", "--prefer-offline", "--no-audit", "--no-fund")
    return directory
