"""The same with asyncio: python listen_asyncio.py HOST PORT TOKEN"""

import asyncio
import sys

from push_gateway_client import NotAvailableError, Push, State, Status
from push_gateway_client.asyncio import Client


async def main(host: str, port: str, token: str) -> None:
    connected = asyncio.Event()

    async def on_push(push: Push) -> None:
        print(f"{push.id}: {push.text}", flush=True)  # it is acknowledged when this is done

    def on_state(status: Status) -> None:
        print(status.state.value, status.reason, flush=True)
        if status.state is State.CONNECTED:
            connected.set()

    async with Client(host, int(port), token=token, on_push=on_push, on_state=on_state) as client:
        await connected.wait()
        try:
            print("answer:", (await client.publish("FP", {"q": 1})).text, flush=True)
        except NotAvailableError:
            print("no service has this topic", flush=True)
        await asyncio.Event().wait()


asyncio.run(main(*sys.argv[1:]))
