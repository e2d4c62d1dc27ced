"""API keys: how one looks, what is kept of it, and what it may do. Pure.

A key is 32 random bytes, so nobody can try them all: SHA-256 keeps it secret as well as a slow hash would, which is
for passwords that people choose, and costs each request 1 us. Digests are compared in constant time.
"""

import json
import re
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Sequence
from hashlib import sha256
from hmac import compare_digest
from typing import Any, NamedTuple

from shared.errors import SettingsError

PUSH, READ, ADMIN = "push", "read", "admin"
SCOPES = (PUSH, READ, ADMIN)
SECRET_BYTES = 32
#: So that people and scanners of source code know one when they see it.
PREFIX = "pgk_"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class ApiKey(NamedTuple):
    """What is kept of a key."""

    name: str
    digest: str
    scopes: frozenset[str]
    created: str  # as RFC 3339 has it, for people


def key_text(secret: bytes) -> str:
    """What its owner shows: `Authorization: Bearer pgk_...`."""
    return PREFIX + urlsafe_b64encode(secret).rstrip(b"=").decode()


def digest_of(text: str) -> str:
    """What is kept of it."""
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def find_key(keys: Sequence[ApiKey], text: str) -> ApiKey | None:
    """The key that this text is. Takes the same time whichever it is, or none."""
    digest, found = digest_of(text), None
    for key in keys:
        if compare_digest(key.digest, digest):
            found = key
    return found


def name_fault(name: object) -> str | None:
    """What is wrong with the name of a key, or None."""
    if isinstance(name, str) and _NAME.fullmatch(name):
        return None
    return "a name has 1 to 64 letters, digits and . _ - behind a letter or digit"


def format_keys(keys: Iterable[ApiKey]) -> str:
    """The text of the file."""
    said = [{**key._asdict(), "scopes": [scope for scope in SCOPES if scope in key.scopes]} for key in keys]
    return json.dumps({"keys": said}, indent=2) + "\n"


def parse_keys(setting: str, text: str) -> list[ApiKey]:
    """The keys in a file. Raises SettingsError that names `setting`."""
    try:
        body = json.loads(text)
        said = body["keys"]
    except (ValueError, RecursionError, LookupError, TypeError):
        raise SettingsError(setting, 'not a JSON object {"keys": [...]}') from None
    if not isinstance(said, list):
        raise SettingsError(setting, "keys is not a list")
    keys = [_key(setting, number, fields) for number, fields in enumerate(said)]
    if len({key.name for key in keys}) < len(keys):
        raise SettingsError(setting, "two keys have the same name")
    return keys


def _key(setting: str, number: int, fields: Any) -> ApiKey:
    where = f"key {number + 1}"
    if not isinstance(fields, dict):
        raise SettingsError(setting, f"{where} is not a JSON object")
    name, digest, scopes = fields.get("name"), fields.get("digest"), fields.get("scopes")
    if fault := name_fault(name):
        raise SettingsError(setting, f"{where}: {fault}")
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise SettingsError(setting, f"{where}: digest is not 64 hex digits")
    if not isinstance(scopes, list) or not scopes or not all(scope in SCOPES for scope in scopes):
        raise SettingsError(setting, f"{where}: scopes are not a list of {', '.join(SCOPES)}")
    return ApiKey(str(name), digest, frozenset(scopes), str(fields.get("created") or ""))
