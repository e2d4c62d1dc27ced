"""threads.py HOST PORT SETTINGS: tells all that happens; each line of input is a topic to publish to."""

import sys
from typing import Any

from push_gateway_client import PushClientError  # type: ignore[import-not-found]
from push_gateway_client.sync import Client  # type: ignore[import-not-found]

from tests.sdk.listeners.telling import arguments, options, tell


def on_push(push: Any) -> None:
    tell(push=push.text)


host, port, settings = arguments()
with Client(host, port, on_push=on_push, **options(settings)) as client:
    for line in sys.stdin:
        try:
            tell(answer=client.publish(line.strip()).text)
        except PushClientError as error:
            tell(failed=type(error).__name__)
