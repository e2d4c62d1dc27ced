"""A client's side of RFC 6455 for tests: masked frames, built byte by byte and without the product's encoder."""

from struct import pack


def masked(opcode, payload, fin=True, rsv=0, mask=b"\x37\xfa\x21\x3d"):
    """One frame as a client sends it; `rsv` is the three reserved bits as a number, RSV1 = 4."""
    size = len(payload)
    if size < 126:
        length = bytes([0x80 | size])
    elif size < 65_536:
        length = b"\xfe" + pack(">H", size)
    else:
        length = b"\xff" + pack(">Q", size)
    body = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
    return bytes([fin << 7 | rsv << 4 | opcode]) + length + mask + body
