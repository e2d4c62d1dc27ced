"""permessage-deflate (RFC 7692), always without context takeover, so that an idle connection holds no compressor."""

import zlib
from collections.abc import Sequence

from shared.errors import BodyError, TooLargeError

NAME = "permessage-deflate"
_ANSWER = f"{NAME}; server_no_context_takeover; client_no_context_takeover"
_WINDOWS = {str(bits): bits for bits in range(8, 16)}
_DEFAULT_WINDOW = 15

#: Ends every message and is left out on the wire (section 7.2.1).
_TAIL = b"\x00\x00\xff\xff"
#: An empty final block: with it zlib can tell a whole message from one that was cut short.
_END = b"\x03\x00"
#: What may be left over by a message that ends itself with a final block (section 7.2.3.5).
_AFTER_FINAL = frozenset({b"", _TAIL + _END, b"\x00" + _TAIL + _END})


def negotiate(header_values: Sequence[str]) -> tuple[str, int] | None:
    """(Sec-WebSocket-Extensions to answer, the server's window bits) for the first offer that can be met, or None.

    `header_values` are the values of the request's Sec-WebSocket-Extensions lines. Invalid offers are passed over.
    """
    for value in header_values:
        for offer in value.split(","):
            name, *parameters = offer.split(";")
            if name.strip().lower() == NAME:
                window = _server_window(parameters)
                if window is not None:
                    return window
    return None


def _server_window(parameters: Sequence[str]) -> tuple[str, int] | None:
    """Answer and window for one offer's parameters (section 7.1), or None to decline it."""
    seen: dict[str, str | None] = {}
    for parameter in parameters:
        name, equals, value = parameter.partition("=")
        name, value = name.strip().lower(), value.strip()
        if name in seen:
            return None
        if len(value) > 1 and value[0] == value[-1] == '"':
            value = value[1:-1]
        seen[name] = value if equals else None
    for name, said in seen.items():
        if name in ("server_no_context_takeover", "client_no_context_takeover"):
            good = said is None
        elif name == "client_max_window_bits":
            good = said is None or said in _WINDOWS
        else:
            good = name == "server_max_window_bits" and said in _WINDOWS
        if not good:
            return None
    wanted = seen.get("server_max_window_bits")
    if wanted is None:
        return _ANSWER, _DEFAULT_WINDOW
    if wanted == "8":  # zlib has no raw DEFLATE with a window of 256 bytes
        return None
    return f"{_ANSWER}; server_max_window_bits={wanted}", _WINDOWS[wanted]


def compress(data: bytes, window_bits: int) -> bytes:
    """Payload of a compressed message, without the tail 00 00 FF FF (section 7.2.1)."""
    # Tables no larger than the message needs: clearing those of a 32 KiB window costs more than compressing 1 KiB.
    bits = min(window_bits, max(9, len(data).bit_length()))
    deflater = zlib.compressobj(6, zlib.DEFLATED, -bits, min(8, max(1, bits - 7)))
    return (deflater.compress(data) + deflater.flush(zlib.Z_SYNC_FLUSH))[: -len(_TAIL)]


def decompress(data: bytes | bytearray, limit: int) -> bytes:
    """A message inflated (section 7.2.2), at most `limit` bytes.

    Raises TooLargeError at the first byte over the limit, BodyError if the payload is not DEFLATE or is cut short.
    """
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        message = inflater.decompress(data + _TAIL + _END, limit + 1)
    except zlib.error:
        raise BodyError("compressed message is not DEFLATE") from None
    if len(message) > limit:
        raise TooLargeError("inflated message", len(message), limit)
    if not inflater.eof or inflater.unused_data not in _AFTER_FINAL:
        raise BodyError("compressed message does not end where its frame ends")
    return message
