"""What to do when a connection has ended (docs/client-protocol.md, section How a connection ends). Pure."""

from __future__ import annotations

#: After these, coming back does not help.
FINAL = frozenset({"rejected", "replaced", "kicked", "bad_protocol", "bad_body"})
CREDENTIAL_EXPIRED = "credential_expired"


def is_final(reason: str, can_renew: bool) -> bool:
    """Whether to stay away. `can_renew`: a new credential can be had."""
    return reason in FINAL or (reason == CREDENTIAL_EXPIRED and not can_renew)
