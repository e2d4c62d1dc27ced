"""Close reasons: one enum for the wire, the log line and the counter alike."""

from enum import StrEnum


class CloseReason(StrEnum):
    """Why a connection ended. docs/operations.md explains each."""

    PEER_CLOSED = "peer_closed"
    IO_ERROR = "io_error"
    CLIENT_DISCONNECT = "client_disconnect"
    BAD_PROTOCOL = "bad_protocol"
    BAD_BODY = "bad_body"
    TOO_LARGE = "too_large"
    HELLO_TIMEOUT = "hello_timeout"
    HEARTBEAT_TIMEOUT = "heartbeat_timeout"
    SLOW_CONSUMER = "slow_consumer"
    REPLACED = "replaced"
    REJECTED = "rejected"
    CREDENTIAL_EXPIRED = "credential_expired"
    KICKED = "kicked"
    UNAVAILABLE = "unavailable"
    HTTP_DONE = "http_done"
    SHUTDOWN = "shutdown"
    WORKER_LOST = "worker_lost"
    INTERNAL_ERROR = "internal_error"


#: WebSocket close code of each reason (RFC 6455, section 7.4.1).
WEBSOCKET_CODES: dict[CloseReason, int] = {
    CloseReason.PEER_CLOSED: 1000,
    CloseReason.IO_ERROR: 1011,
    CloseReason.CLIENT_DISCONNECT: 1000,
    CloseReason.BAD_PROTOCOL: 1002,
    CloseReason.BAD_BODY: 1007,
    CloseReason.TOO_LARGE: 1009,
    CloseReason.HELLO_TIMEOUT: 1008,
    CloseReason.HEARTBEAT_TIMEOUT: 1008,
    CloseReason.SLOW_CONSUMER: 1008,
    CloseReason.REPLACED: 1008,
    CloseReason.REJECTED: 1008,
    CloseReason.CREDENTIAL_EXPIRED: 1008,
    CloseReason.KICKED: 1008,
    CloseReason.UNAVAILABLE: 1013,
    CloseReason.HTTP_DONE: 1000,
    CloseReason.SHUTDOWN: 1012,
    CloseReason.WORKER_LOST: 1012,
    CloseReason.INTERNAL_ERROR: 1011,
}
