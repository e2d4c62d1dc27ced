"""The token of a login and the password of CONNECT, as clients in the field read and make them. Pure.

Both are base64 of AES-128-CBC (PKCS7) whose key is its IV too, over 4 bytes of hours since 2018-01-01 (+08:00),
little-endian, and what they carry. That hides nothing from whoever knows the client key, and is there for existing
clients alone (docs/client-protocol.md, section Login); new ones use AUTH.
"""

import hmac
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable
from struct import Struct
from typing import NamedTuple

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

KEY_BYTES = 16
HOURS_SINCE = 1_514_736_000  # Unix seconds
_BLOCK_BITS = 128
_HOURS = Struct("<I")
#: Made (Unix seconds) and chance; with the signature behind it 48 bytes. One client in the field works in words of 4
#: bytes, and appends garbage to what is not a multiple of 8.
_SIGNED = Struct(">Q8s")
_SECRET_CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_SECRET_LENGTH = 24


class LoginToken(NamedTuple):
    """What the token of a login carries. Clients encrypt with the first 16 characters of `secret`."""

    usertoken: str
    secret: str
    dbsecret: str

    @property
    def session_key(self) -> bytes:
        return session_key(self.secret)


def session_key(secret: str) -> bytes:
    """The 16 bytes out of a secret."""
    return secret.encode()[:KEY_BYTES]


def make_usertoken(uid: str, now: float, random8: bytes, key: bytes) -> str:
    """Base64 that only the server reads: time, chance, and an HMAC-SHA-256 of both and the uid."""
    signed = _SIGNED.pack(int(now), random8)
    return b64encode(signed + _signature(uid, signed, key)).decode()


def is_usertoken_of(usertoken: bytes, uid: str, key: bytes) -> bool:
    """Whether decoded `usertoken` was made for this user with this key."""
    signed, signature = usertoken[: _SIGNED.size], usertoken[_SIGNED.size :]
    return hmac.compare_digest(signature, _signature(uid, signed, key))


def _signature(uid: str, signed: bytes, key: bytes) -> bytes:
    return hmac.digest(key, signed + uid.encode(), "sha256")


def make_secret(choice: Callable[[str], str]) -> str:
    """Random printable characters, without `|`. `choice` draws one out of a text."""
    return "".join([choice(_SECRET_CHARACTERS) for _ in range(_SECRET_LENGTH)])


def seal_token(token: LoginToken, now: float, client_key: bytes) -> str:
    """The `token` of an answered login."""
    return _seal("|".join(token).encode(), now, client_key)


def open_password(password: str, key: bytes) -> bytes | None:
    """What the password of a CONNECT carries under a session key; None if it is none. Its hours are not looked at:

    one client in the field computes them wrongly.
    """
    try:
        sealed = b64decode(password, validate=True)
        decryptor = Cipher(algorithms.AES(key), modes.CBC(key)).decryptor()
        padded = decryptor.update(sealed) + decryptor.finalize()
        unpadder = PKCS7(_BLOCK_BITS).unpadder()
        opened = unpadder.update(padded) + unpadder.finalize()
    except (Base64Error, ValueError):
        return None
    return opened[_HOURS.size :] if len(opened) >= _HOURS.size else None


def seal_password(usertoken: str, now: float, key: bytes) -> str:
    """The password of a CONNECT, as a client makes it."""
    return _seal(b64decode(usertoken), now, key)


def _seal(text: bytes, now: float, key: bytes) -> str:
    hours = _HOURS.pack(max(0, int(now) - HOURS_SINCE) // 3600)
    padder = PKCS7(_BLOCK_BITS).padder()
    padded = padder.update(hours + text) + padder.finalize()
    encryptor = Cipher(algorithms.AES(key), modes.CBC(key)).encryptor()
    return b64encode(encryptor.update(padded) + encryptor.finalize()).decode()
