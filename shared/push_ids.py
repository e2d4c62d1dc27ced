"""Push ids: the same text for every copy of one push (docs/sender-protocol.md, section Push ids)."""

from hashlib import sha256

PREFIX_BYTES = 16


def id_prefix(sender: bytes, request_id: bytes) -> bytes:
    """16 bytes that all pushes of one idempotent request share: SHA-256 over name, NUL, `id`."""
    return sha256(sender + b"\0" + request_id).digest()[:PREFIX_BYTES]


def push_id(prefix: bytes, index: int) -> str:
    """32 hex digits, `-`, the target's index in the request in decimal."""
    return f"{prefix.hex()}-{index}"
