"""Options of SUB and CONNECT: what may be asked for, and what is granted (docs/client-protocol.md, section SUB).

Pure.
"""

from typing import Any

from gateway.connections import Connection, Granted, Protocol
from shared.tokens import encode_token

_NAMES = (
    (Granted.DEFLATE, "deflate"),
    (Granted.AES_GCM, "aes-gcm"),
    (Granted.ACK, "ack"),
    (Granted.IDS, "ids"),
    (Granted.BASE64, "base64"),
)


def options_fault(fields: dict[str, Any]) -> str:
    """What is wrong with the options of a SUB or CONNECT, or ""."""
    accept = fields.get("accept")
    if accept is not None and not (isinstance(accept, list) and all(isinstance(name, str) for name in accept)):
        return "accept is not a list of names"
    for name in ("ack", "ids"):
        if not isinstance(fields.get(name), bool | None):
            return f"{name} is neither true nor false"
    for name in ("uid", "encoding"):
        if not isinstance(fields.get(name), str | None):
            return f"{name} is not a string"
    return _uid_fault(fields.get("uid"))


def _uid_fault(uid: str | None) -> str:
    if uid is None:
        return ""
    return (encode_token(uid)[1] or "").replace("token", "uid")


def asked(fields: dict[str, Any]) -> bool:
    """Whether a SUB or CONNECT asks for anything, so that its answer lists what is granted."""
    return any(name in fields for name in ("accept", "ack", "ids", "encoding"))


def grant(connection: Connection, fields: dict[str, Any]) -> int:
    """The bits of `Granted` that the options of a SUB or CONNECT earn in this protocol."""
    text = connection.protocol == Protocol.WS_TEXT
    granted = 0
    if fields.get("ack") and connection.protocol != Protocol.V0:
        granted |= Granted.ACK
    if fields.get("ids"):
        granted |= Granted.IDS
    if "deflate" in (fields.get("accept") or ()) and not text:
        granted |= Granted.DEFLATE
    if "aes-gcm" in (fields.get("accept") or ()) and has_key(connection):
        granted |= Granted.AES_GCM
    if fields.get("encoding") == "base64" and text:
        granted |= Granted.BASE64
    return granted


def has_key(connection: Connection) -> bool:
    """Whether bodies of this connection can be encrypted: CONNECT gives a session key."""
    protocol = connection.protocol
    return bool(connection.login and connection.login.key) and protocol not in (Protocol.V0, Protocol.WS_TEXT)


def granted_names(granted: int) -> list[str]:
    """Names of the granted options, for the answer."""
    return [name for bit, name in _NAMES if granted & bit]
