"""The JavaScript SDK's own tests, and its types."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.fleet.fleet_process import ROOT


def test_ci_build_and_test(tmp_path: Path) -> None:
    npm = shutil.which("npm")
    if not npm:
        assert not os.environ.get("CI"), "npm is not installed"
        pytest.skip("npm is not installed")
    directory = tmp_path / "javascript"
    shutil.copytree(ROOT / "sdk" / "javascript", directory, ignore=shutil.ignore_patterns("node_modules", "types"))
    for command in (["ci", "--prefer-offline", "--no-audit", "--no-fund"], ["run", "build"], ["test"]):
        done = subprocess.run([npm, *command], cwd=directory, capture_output=True, text=True, timeout=100, check=False)
        assert not done.returncode, f"npm {command[0]}: {done.stdout}{done.stderr}"
    assert (directory / "types" / "index.d.ts").exists()
