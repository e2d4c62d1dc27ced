"""CURVE keys: the text of key files and of the list of permitted keys (docs/operations.md, section Keys).

A key is 40 characters of Z85 (ZeroMQ RFC 32), standing for 32 bytes. A key file holds {"public": key, "secret": key}
and must be readable by its owner alone; the list holds {public key: [scope, ...]}.
"""

import json
from typing import Any, NamedTuple

from shared.errors import SettingsError

KEY_CHARACTERS = 40
PUSH, ADMIN, WORKER, SERVICE, ROUTER = "push", "admin", "worker", "service", "router"
SCOPES = frozenset({PUSH, ADMIN, WORKER, SERVICE, ROUTER})

_Z85 = frozenset("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#")


class KeyPair(NamedTuple):
    """A public key and its secret, in Z85."""

    public: str
    secret: str


def is_key(text: object) -> bool:
    """Whether `text` can be a key: 40 characters of Z85."""
    return isinstance(text, str) and len(text) == KEY_CHARACTERS and _Z85.issuperset(text)


def format_key_pair(pair: KeyPair) -> str:
    """The text of a key file."""
    return json.dumps({"public": pair.public, "secret": pair.secret}, indent=2) + "\n"


def parse_key_pair(setting: str, text: str) -> KeyPair:
    """A key file's text. Raises SettingsError that names `setting`; the message never shows a secret."""
    body = _object(setting, text)
    public, secret = body.get("public"), body.get("secret")
    if not is_key(public) or not is_key(secret):
        raise SettingsError(setting, f"public and secret are not keys of {KEY_CHARACTERS} Z85 characters")
    return KeyPair(str(public), str(secret))


def format_permitted(permitted: dict[str, frozenset[str]]) -> str:
    """The text of a list of permitted keys."""
    return json.dumps({key: sorted(scopes) for key, scopes in permitted.items()}, indent=2) + "\n"


def parse_permitted(setting: str, text: str) -> dict[str, frozenset[str]]:
    """Scopes by public key. Raises SettingsError that names `setting` and the key concerned."""
    permitted: dict[str, frozenset[str]] = {}
    for key, scopes in _object(setting, text).items():
        if not is_key(key):
            raise SettingsError(setting, f"{key[:KEY_CHARACTERS]!r} is not a key of {KEY_CHARACTERS} Z85 characters")
        if not isinstance(scopes, list) or not scopes or not all(scope in SCOPES for scope in map(str, scopes)):
            raise SettingsError(setting, f"scopes of {key} are not a list of {', '.join(sorted(SCOPES))}")
        permitted[key] = frozenset(map(str, scopes))
    if not permitted:
        raise SettingsError(setting, "permits nobody")
    return permitted


def _object(setting: str, text: str) -> dict[str, Any]:
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        raise SettingsError(setting, "not JSON") from None
    if not isinstance(body, dict):
        raise SettingsError(setting, "not a JSON object")
    return body


def mode_fault(mode: int) -> str | None:
    """What is wrong with a key file's permission bits, or None: nobody but its owner may read it."""
    return f"mode {mode & 0o777:04o} lets others read it: must be 0600" if mode & 0o077 else None
