"""The JavaScript SDK's own tests, and its types."""

from pathlib import Path

from tests.sdk.conftest import npm_run


def test_build_types_and_tests(javascript_sdk: Path) -> None:
    npm_run(javascript_sdk, "run", "build")
    assert (javascript_sdk / "types" / "index.d.ts").exists()
    npm_run(javascript_sdk, "run", "check-types")
    npm_run(javascript_sdk, "test")
