"""The client for asyncio; `push_gateway_client.sync` is the same for threads."""

from push_gateway_client.asyncio.client import Client

__all__ = ["Client"]
