"""Tokens: the names of client connections, and the slots they fall into."""

import re
from zlib import crc32

SLOTS = 4096
TOKEN_MAX_BYTES = 255

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


def slot_of(token: bytes) -> int:
    """Slot of a token: CRC-32 (zlib's) of its UTF-8 bytes, modulo 4,096."""
    return crc32(token) & (SLOTS - 1)


def token_fault(token: bytes) -> str | None:
    """What is wrong with a token, or None: 1-255 bytes of UTF-8 without control characters."""
    if not token:
        return "token is empty"
    if len(token) > TOKEN_MAX_BYTES:
        return f"token of {len(token)} bytes exceeds the limit of {TOKEN_MAX_BYTES}"
    try:
        text = token.decode()
    except UnicodeDecodeError:
        return "token is not UTF-8"
    if _CONTROL.search(text):
        return "token contains control characters"
    return None


def encode_token(text: object) -> tuple[bytes, str | None]:
    """(UTF-8 bytes, None) of a token that came as JSON, or (b"", what is wrong with it)."""
    if not isinstance(text, str):
        return b"", "token is not a string"
    try:
        token = text.encode()
    except UnicodeEncodeError:
        return b"", "token is not valid Unicode"
    fault = token_fault(token)
    return (b"", fault) if fault else (token, None)
