"""How a webhook's posts are signed (docs/events.md). Pure but for `read_secret`."""

import hmac
from hashlib import sha256
from pathlib import Path

from shared.errors import SettingsError
from shared.keys import mode_fault

TIMESTAMP, SIGNATURE = "Push-Timestamp", "Push-Signature"
#: Of a secret: as many as the hash has.
LEAST_BYTES = 32


def sign(secret: bytes, timestamp: int, body: bytes) -> dict[str, str]:
    """The two headers of a post. `timestamp`: Unix seconds."""
    digest = hmac.new(secret, b"%d." % timestamp + body, sha256).hexdigest()
    return {TIMESTAMP: str(timestamp), SIGNATURE: f"v1={digest}"}


def read_secret(path: Path) -> bytes:
    """What the file has, without white space around it. Raises SettingsError: not readable, or by others too; short."""
    try:
        fault, secret = mode_fault(path.stat().st_mode), path.read_bytes().strip()
    except OSError as error:
        raise SettingsError("event_webhook_secret_file", f"{path}: {(error.strerror or str(error)).lower()}") from None
    if fault:
        raise SettingsError("event_webhook_secret_file", f"{path}: {fault}")
    if len(secret) < LEAST_BYTES:
        raise SettingsError("event_webhook_secret_file", f"{path}: {len(secret)} bytes are fewer than {LEAST_BYTES}")
    return secret
