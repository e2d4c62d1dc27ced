"""Settings as they may be shown: of URLs that may hold a secret only where they lead."""

import re
from dataclasses import asdict
from typing import Any

from shared.settings import Settings

#: URLs whose path, query or user may be a secret.
_SHORTENED = ("event_webhook_url", "otel_endpoint")


def place(url: str) -> str:
    """Of a URL `scheme://host:port`, whatever else it has; of another text what may be its host."""
    scheme, separator, rest = url.partition("://")
    host = re.split(r"[/?#\\]", rest if separator else url, maxsplit=1)[0].rpartition("@")[2]
    return f"{scheme}://{host}" if separator else host


def shown(settings: Settings) -> dict[str, Any]:
    """Every setting by name."""
    said = asdict(settings)
    return said | {name: place(said[name]) for name in _SHORTENED}
