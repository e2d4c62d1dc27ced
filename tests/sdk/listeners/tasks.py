"""tasks.py HOST PORT SETTINGS: as threads.py, with asyncio."""

import asyncio
import sys
from typing import Any

from push_gateway_client import PushClientError  # type: ignore[import-not-found]
from push_gateway_client.asyncio import Client  # type: ignore[import-not-found]

from tests.sdk.listeners.telling import arguments, options, tell


async def on_push(push: Any) -> None:
    tell(push=push.text)


async def main() -> None:
    host, port, settings = arguments()
    async with Client(host, port, on_push=on_push, **options(settings)) as client:
        while line := await asyncio.to_thread(sys.stdin.readline):
            try:
                tell(answer=(await client.publish(line.strip())).text)
            except PushClientError as error:
                tell(failed=type(error).__name__)


asyncio.run(main())
