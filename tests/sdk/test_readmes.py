"""Both SDKs say the same of what they do when."""

import re

from tests.sdk.conftest import SDK

HEADING = "## What it does when\n"


def behaviour(folder: str) -> list[str]:
    """The rows of the table."""
    _, found, rest = (SDK / folder / "README.md").read_text().partition(HEADING)
    assert found
    return [line for line in rest.partition("\n## ")[0].splitlines() if line.startswith("|")]


def test_the_behaviour_table_is_the_same() -> None:
    assert behaviour("python") == behaviour("javascript")
    assert len(behaviour("python")) > 15


def test_the_settings_that_the_table_names_have_these_defaults() -> None:
    from push_gateway_client import Options  # type: ignore[import-not-found]  # noqa: PLC0415  (conftest sets its path)

    options, table = Options(), "\n".join(behaviour("python"))
    assert f"after {options.answer_timeout_s:g} s" in table
    assert f"0 and {options.backoff_s:g} s" in table
    assert f"{options.backoff_max_s:g} s (full jitter)" in table
    assert f"last {options.recent_max:,}" in table
    assert f"up to {options.queue_max}" in table
    assert f"time limit ({options.request_timeout_s:g} s)" in table
    assert f"with {options.inbox_max:,} waiting" in table
    source = (SDK / "javascript" / "src" / "options.js").read_text()
    for name in ("answer_timeout", "backoff", "backoff_max", "request_timeout", "connect_timeout", "renew_margin"):
        first, *others = name.split("_")
        said = re.search(rf"^  {first}{''.join(map(str.title, others))}Ms: ([\d_]+),$", source, re.MULTILINE)
        assert said, name
        assert int(said[1]) == getattr(options, f"{name}_s") * 1000
