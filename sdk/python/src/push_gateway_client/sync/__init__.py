"""The client for threads; `push_gateway_client.asyncio` is the same for asyncio."""

from push_gateway_client.sync.client import Client

__all__ = ["Client"]
