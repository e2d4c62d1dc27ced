"""Client of a push gateway (README.md): `push_gateway_client.sync.Client`, `push_gateway_client.asyncio.Client`."""

from push_gateway_client.actions import State, Status
from push_gateway_client.exceptions import (
    BodyTooLargeError,
    ClosedError,
    ConnectionLostError,
    CredentialError,
    DisconnectedError,
    HandlerError,
    NotAvailableError,
    NotBoundError,
    ProtocolError,
    PublishError,
    PushClientError,
    QueueFullError,
    RefusedError,
    RequestError,
    RequestTimeoutError,
    ServiceError,
    ServiceLostError,
    ServiceOverloadedError,
    ServiceSilentError,
)
from push_gateway_client.kept_ids import FileIds, KeptIds
from push_gateway_client.options import Options
from push_gateway_client.pushes import Answer, Push
from push_gateway_client.statistics import Statistics

__version__ = "0.1.0"
__all__ = [
    "Answer",
    "BodyTooLargeError",
    "ClosedError",
    "ConnectionLostError",
    "CredentialError",
    "DisconnectedError",
    "FileIds",
    "HandlerError",
    "KeptIds",
    "NotAvailableError",
    "NotBoundError",
    "Options",
    "ProtocolError",
    "PublishError",
    "Push",
    "PushClientError",
    "QueueFullError",
    "RefusedError",
    "RequestError",
    "RequestTimeoutError",
    "ServiceError",
    "ServiceLostError",
    "ServiceOverloadedError",
    "ServiceSilentError",
    "State",
    "Statistics",
    "Status",
]
