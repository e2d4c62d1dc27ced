"""What the settings say about logins: keys, codes that are always good, and the way in which codes are sent."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import jwt
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from services.login.requests import CODE, MOBILE
from services.login.tokens import KEY_BYTES
from shared.errors import SettingsError
from shared.settings import Settings, split

_SECRET_BYTES = 32
#: (uid, token, expires in Unix seconds) to a JWT for AUTH.
Credentials = Callable[[str, str, int], str]


class Keys(NamedTuple):
    """Secrets of a deployment."""

    client: bytes  # which clients have built in
    signing: bytes  # of usertokens


def load_keys(settings: Settings) -> Keys:
    """Raises SettingsError. Without `login_secret_file` a secret is made once, in data_dir."""
    try:
        client = bytes.fromhex(settings.login_client_key)
    except ValueError:
        client = b""
    if len(client) != KEY_BYTES:
        raise SettingsError("login_client_key", f"is not {KEY_BYTES} bytes in hex")
    path = Path(settings.login_secret_file or Path(settings.data_dir) / "state" / "login.secret")
    if not settings.login_secret_file:
        _make_secret(path)
    try:
        secret = bytes.fromhex(path.read_text())
    except OSError as error:
        raise SettingsError("login_secret_file", f"{path}: {(error.strerror or str(error)).lower()}") from None
    except ValueError:
        raise SettingsError("login_secret_file", f"{path}: is not hex") from None
    if len(secret) < _SECRET_BYTES:
        raise SettingsError("login_secret_file", f"has less than {_SECRET_BYTES} bytes in hex")
    return Keys(client, secret)


def _make_secret(path: Path) -> None:
    """One that is there stays. Of processes that start at once, all have the same."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(os.urandom(_SECRET_BYTES).hex())
        file.flush()
        os.fsync(descriptor)
    try:
        os.link(made, path)
    except FileExistsError:
        pass
    finally:
        made.unlink()


def demo_codes(settings: Settings) -> dict[str, str]:
    """Fixed codes by mobile number. Raises SettingsError."""
    codes = {}
    for entry in split(settings.login_demo_codes):
        mobile, _, code = entry.partition(":")
        if not MOBILE.fullmatch(mobile) or not CODE.fullmatch(code):
            digits = "MOBILE:CODE, of 5 to 20 and 4 to 10 digits"
            raise SettingsError("login_demo_codes", f"{mobile[:64]!r} has what is not {digits}")
        codes[mobile] = code
    return codes


def webhook(settings: Settings) -> str | None:
    """Where codes are posted; None: they are logged. Raises SettingsError."""
    channel = settings.login_channel
    if channel == "log":
        return None
    if urlsplit(channel).scheme not in ("http", "https") or not urlsplit(channel).hostname:
        raise SettingsError("login_channel", f"{channel[:64]!r} is neither log nor an http(s) URL")
    return channel


def credentials(settings: Settings) -> Credentials | None:
    """What signs JWTs that AUTH accepts; None: no key is set. Raises SettingsError."""
    if not settings.login_signing_key_file:
        return None
    name = "login_signing_key_file"
    try:
        entry = json.loads(Path(settings.login_signing_key_file).read_text())
        kid, algorithm, key = (entry[field] for field in ("kid", "alg", "key"))
    except (OSError, ValueError, TypeError, KeyError):
        raise SettingsError(name, "is not a readable JSON object of kid, alg and key") from None
    if algorithm not in ("HS256", "EdDSA"):
        raise SettingsError(name, "alg is neither HS256 nor EdDSA")
    if not isinstance(kid, str) or not kid:
        raise SettingsError(name, "kid is no text")
    if algorithm == "HS256" and len(str(key).encode()) < _SECRET_BYTES:
        raise SettingsError(name, f"HS256 key has less than {_SECRET_BYTES} bytes")
    try:
        material: Any = key if algorithm == "HS256" else load_pem_private_key(key.encode(), None)
        jwt.encode({}, material, algorithm=algorithm)
    except Exception:  # whatever a broken key leads to; its text must not be told
        raise SettingsError(name, f"key is no {algorithm} key") from None

    def sign(uid: str, token: str, expires: int) -> str:
        claims = {"sub": uid, "token": token, "aud": settings.auth_audience, "exp": expires}
        return jwt.encode(claims, material, algorithm=algorithm, headers={"kid": kid})

    return sign
