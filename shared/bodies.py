"""Bodies behind the flags of a packet: compressed, encrypted, or first the one and then the other.

docs/client-protocol.md, section Binary packets. Nonces come from the caller: 12 random bytes, never a counter.
"""

import zlib

from shared.errors import BodyError, TooLargeError
from shared.packets import Packet

NONCE_BYTES = 12
TAG_BYTES = 16

#: What encryption adds to a body.
ENCRYPTION_BYTES = NONCE_BYTES + TAG_BYTES

_RAW = -zlib.MAX_WBITS
_SMALL_BYTES = 4096


def inflate(body: bytes, limit: int) -> bytes:
    """A raw DEFLATE body (RFC 1951) inflated, at most `limit` bytes.

    Raises TooLargeError at the first byte over the limit; BodyError if the body is not DEFLATE,
    is cut short, or goes on behind its end.
    """
    inflater = zlib.decompressobj(_RAW)
    try:
        data = inflater.decompress(body, limit + 1)
    except zlib.error:
        raise BodyError("compressed body is not DEFLATE") from None
    if len(data) > limit:
        raise TooLargeError("inflated body", len(data), limit)
    if not inflater.eof:
        raise BodyError("compressed body is cut short")
    if inflater.unused_data:
        raise BodyError(f"{len(inflater.unused_data)} bytes follow the end of a compressed body")
    return data


def deflate(body: bytes) -> bytes:
    """Raw DEFLATE of a body."""
    if len(body) <= _SMALL_BYTES:
        # A window of 4 KiB saves the clearing of 256 KiB of tables, which costs more than the work itself.
        deflater = zlib.compressobj(6, zlib.DEFLATED, -12, 5)
    else:
        deflater = zlib.compressobj(6, zlib.DEFLATED, _RAW)
    return deflater.compress(body) + deflater.flush()


def encrypt(body: bytes, key: bytes, nonce: bytes) -> bytes:
    """AES-128-GCM: nonce (12 bytes), ciphertext, tag (16 bytes)."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415  (few need it, and it loads slowly)

    return nonce + AESGCM(key).encrypt(nonce, body, None)


def decrypt(body: bytes, key: bytes) -> bytes:
    """The reverse of `encrypt`. Raises BodyError."""
    if len(body) < ENCRYPTION_BYTES:
        raise BodyError(f"encrypted body of {len(body)} bytes is shorter than nonce and tag")
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

    try:
        return AESGCM(key).decrypt(body[:NONCE_BYTES], body[NONCE_BYTES:], None)
    except InvalidTag:
        raise BodyError("encrypted body does not fit the session key") from None


def decode_body(packet: Packet, key: bytes | None, limit: int) -> bytes:
    """A packet's body in the clear: decrypted first, then inflated. Raises BodyError or TooLargeError."""
    body = packet.body
    if packet.encrypted:
        if key is None:
            raise BodyError("encrypted body on a connection without a session key")
        body = decrypt(body, key)
    return inflate(body, limit) if packet.compressed else body
