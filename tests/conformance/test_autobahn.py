"""Must show 3: Autobahn's WebSocket cases, driven by kosoku.

What kosoku (PyPI, 0.1.0) needs: nothing but the address of an echo server. Its wheel holds Autobahn's case files, their
test data and a runner in Rust; `kosoku ws://HOST:PORT --include GLOB --parallelism N --outdir DIR` opens a connection
per case, exits 1 if one fails, and writes a report per case and an index.json into DIR. The server must echo text as
text and binary as binary, fragments put together, up to 16 MiB (9.1.6, 9.2.6); offer permessage-deflate (12.*, 13.*: a
server without it gets UNIMPLEMENTED, which counts as failed here), with windows of 9 to 15 bits as the client asks; and
be quick enough for the cases' own deadlines (1,000 messages of up to 128 KiB, compressed, in 480 s).

517 cases. `make test` runs all but chapters 12 and 13, and a cross-section of these (each kind of data, each way to
negotiate), within a minute; `make conformance` (CONFORMANCE_FULL=1) runs all, which takes about five.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.echo_server import echo_server, run_cases

FULL = os.environ.get("CONFORMANCE_FULL") == "1"
PROTOCOL = [f"{chapter}.*" for chapter in (1, 2, 3, 4, 5, 6, 7, 10)]
#: Limits and performance: sizes up to 16 MiB, in fragments, in chops.
VOLUME = ["9.*"]
#: permessage-deflate: five kinds of data, seven ways to negotiate; sizes 16 to 131,072, whole and in fragments.
DEFLATE = (
    ["12.*", "13.*"]
    if FULL
    else [f"12.{data}.{size}" for data in range(1, 6) for size in (1, 5, 12)]
    + [f"13.{offer}.{size}" for offer in range(1, 8) for size in (3, 6, 12)]
)


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The echo root, one for all chapters."""
    with echo_server(tmp_path_factory.mktemp("echo") / "log") as found:
        yield found


def test_protocol(port: int, tmp_path: Path) -> None:
    assert run_cases(port, PROTOCOL, tmp_path, 4, 150) == {}


def test_volume(port: int, tmp_path: Path) -> None:
    assert run_cases(port, VOLUME, tmp_path, 1, 150) == {}


@pytest.mark.timeout(3600)
def test_permessage_deflate(port: int, tmp_path: Path) -> None:
    assert run_cases(port, DEFLATE, tmp_path, 2, 3500 if FULL else 150) == {}
