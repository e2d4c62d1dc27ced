"""Credentials: the JWTs that AUTH carries (docs/client-protocol.md, section What each signal does).

The time is passed in.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from shared.errors import CredentialError, SettingsError
from shared.tokens import encode_token

CREDENTIAL_MAX_CHARS = 16_384
HS256_KEY_MIN_BYTES = 32
_SETTING = "auth_keys_file"
#: PyJWT looks at its own clock for these; `Verifier` compares them with the time passed in.
_OPTIONS: Any = {"require": ["sub", "aud", "exp"], "verify_exp": False, "verify_nbf": False, "verify_iat": False}


class Credential(NamedTuple):
    """Who a client is and what it may bind."""

    uid: str
    tokens: frozenset[bytes]
    expires: int  # Unix seconds


class _Key(NamedTuple):
    algorithm: str
    key: Any


class Verifier:
    """Checks credentials against a set of keys, each for one algorithm: the key decides it, never the credential."""

    def __init__(self, keys: Sequence[Mapping[str, str]], audience: str) -> None:
        """`keys` as `load_keys` gives them."""
        self._audience = audience
        self._keys = {entry["kid"]: _Key(entry["alg"], _material(entry["alg"], entry["key"])) for entry in keys}

    def verify(self, credential: str, now: float) -> Credential:
        """A JWT's uid, tokens and expiry. `now` in Unix seconds. Raises CredentialError."""
        if len(credential) > CREDENTIAL_MAX_CHARS:
            raise CredentialError(f"credential of {len(credential)} characters exceeds {CREDENTIAL_MAX_CHARS}")
        claims = self._claims(credential)
        expires = _seconds(claims, "exp")
        if now >= expires:
            raise CredentialError("credential has expired")
        if "nbf" in claims and now < _seconds(claims, "nbf"):
            raise CredentialError("credential is not valid yet")
        uid, fault = encode_token(claims["sub"])
        if fault:
            raise CredentialError("credential's sub is no uid")
        return Credential(uid.decode(), _tokens(claims), expires)

    def _claims(self, credential: str) -> dict[str, Any]:
        try:
            kid = jwt.get_unverified_header(credential).get("kid")
            key = self._keys.get(kid) if isinstance(kid, str) else None
            if key is None:
                raise CredentialError("credential names no known key")
            return jwt.decode(
                credential, key.key, algorithms=[key.algorithm], audience=self._audience, options=_OPTIONS
            )
        except jwt.InvalidAudienceError:
            raise CredentialError("credential is for another audience") from None
        except jwt.MissingRequiredClaimError as error:
            raise CredentialError(f"credential has no {error.claim}") from None
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            raise CredentialError("credential is not valid") from None


def _seconds(claims: Mapping[str, Any], name: str) -> int:
    value = claims[name]
    if type(value) not in (int, float) or not 0 <= value < 2**53:
        raise CredentialError(f"credential's {name} is not a time")
    return int(value)


def _tokens(claims: Mapping[str, Any]) -> frozenset[bytes]:
    """What the claims `token` and `tokens` name."""
    listed = claims.get("tokens", [])
    if not isinstance(listed, list):
        raise CredentialError("credential's tokens are not a list")
    tokens = set()
    for text in [*listed, *([claims["token"]] if "token" in claims else [])]:
        token, fault = encode_token(text)
        if fault:
            raise CredentialError(f"credential's {fault}")
        tokens.add(token)
    return frozenset(tokens)


def load_keys(text: str) -> list[dict[str, str]]:
    """The checked entries (`kid`, `alg`, `key`) of an auth_keys_file. Raises SettingsError.

    HS256 keys are text of at least 32 bytes, EdDSA keys Ed25519 public keys in PEM.
    """
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError):
        raise SettingsError(_SETTING, "not JSON") from None
    if not isinstance(entries, list) or not entries:
        raise SettingsError(_SETTING, "not a list of at least one key")
    keys: list[dict[str, str]] = []
    for number, entry in enumerate(entries):
        keys.append(_checked(number, entry))
    if len({key["kid"] for key in keys}) < len(keys):
        raise SettingsError(_SETTING, "two keys have the same kid")
    return keys


def _checked(number: int, entry: Any) -> dict[str, str]:
    if not isinstance(entry, dict) or entry.keys() != {"kid", "alg", "key"}:
        raise SettingsError(_SETTING, f"key {number} does not have kid, alg and key")
    if not all(isinstance(value, str) and value for value in entry.values()):
        raise SettingsError(_SETTING, f"key {number}: kid, alg and key must be text")
    try:
        _material(entry["alg"], entry["key"])
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SettingsError(_SETTING, f"key {number}: {error}") from None
    return entry


def _material(algorithm: str, key: str) -> bytes | Ed25519PublicKey:
    """A key as PyJWT takes it. Raises ValueError that says what is wrong, never the key itself."""
    if algorithm == "HS256":
        if len(key.encode()) < HS256_KEY_MIN_BYTES:
            raise ValueError(f"HS256 key of {len(key.encode())} bytes has less than {HS256_KEY_MIN_BYTES}")
        return key.encode()
    if algorithm != "EdDSA":
        raise ValueError(f"alg {algorithm[:64]!r} is neither HS256 nor EdDSA")
    try:
        loaded = load_pem_public_key(key.encode())
    except ValueError:
        raise ValueError("EdDSA key is not a public key in PEM") from None
    if not isinstance(loaded, Ed25519PublicKey):
        raise ValueError("EdDSA key is not an Ed25519 public key")
    return loaded
