"""What is shown of settings."""

from dataclasses import asdict
from typing import Any

import pytest

from shared.settings import Settings
from shared.shown import place, shown
from shared.startup.command_lines import settings_listing


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://there/a/b?c=d#e", "https://there"),
        ("http://there:81?c=http://x/", "http://there:81"),
        ("http://me:w@rd@[::1]:4318/", "http://[::1]:4318"),
        ("me:word@there:4318/a", "there:4318"),
        ("", ""),
    ],
)
def test_a_url_is_shown_as_its_place(url: str, said: str) -> None:
    assert place(url) == said


def test_all_other_settings_are_shown_as_they_are() -> None:
    urls: dict[str, Any] = {"event_webhook_url": "https://there/hidden", "otel_endpoint": "http://here/hidden"}
    settings = Settings(workers=7, event_webhook_secret_file="secret", **urls)
    assert shown(settings) == asdict(settings) | {"event_webhook_url": "https://there", "otel_endpoint": "http://here"}
    assert "hidden" not in settings_listing(settings)
