"""Fixtures: one fleet for all examples, and the Node programs with what they need, in directories of their own."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.examples.programs import EXAMPLES
from tests.fleet.fleet_process import Fleet

#: Seconds: the package comes with its native part built, so there is little to do but fetch it.
_INSTALL_S = 60


@pytest.fixture(scope="session")
def example_fleet() -> Iterator[Fleet]:
    """A ready fleet of two workers."""
    with Fleet() as started:
        yield started


@pytest.fixture(scope="session")
def node_sender(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Command of the Node sender. Skips where it cannot run."""
    return _node_program(tmp_path_factory, "sender")


@pytest.fixture(scope="session")
def node_service(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Command of the Node service. Skips where it cannot run."""
    return _node_program(tmp_path_factory, "service")


def _node_program(tmp_path_factory: pytest.TempPathFactory, name: str) -> list[str]:
    """Skips where Node, npm or the registry is missing, or its libraries do not load."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        _skip("node and npm are not installed")
    directory = tmp_path_factory.mktemp("node") / name
    shutil.copytree(EXAMPLES / f"node-{name}", directory, ignore=shutil.ignore_patterns("node_modules"))
    fault = _fault_of(
        [npm, "ci", "--prefer-offline", "--fetch-retries=0", "--ignore-scripts", "--no-audit", "--no-fund"], directory
    )
    if fault:
        _skip(f"npm cannot install zeromq: {fault}")
    fault = _fault_of([node, "--input-type=module", "--eval", 'import "zeromq"'], directory)
    if fault:
        _skip(f"zeromq does not load in this Node: {fault}")
    return [node, str(directory / f"{name}.js")]


def _fault_of(command: list[str], directory: Path) -> str:
    """What is wrong with a command, or nothing."""
    try:
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=_INSTALL_S, check=False)
    except subprocess.TimeoutExpired:
        return f"no end after {_INSTALL_S} s"
    if not done.returncode:
        return ""
    said = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("npm warn")]
    return "; ".join(said[:4])[:300] or f"exit status {done.returncode}"


def _skip(reason: str) -> None:
    print(reason)
    pytest.skip(reason)
