"""The credential for AUTH: which one is in use, and when a new one is needed. Pure."""

from __future__ import annotations

import base64
import binascii
import json

_NEVER = float("inf")


def expiry_of(credential: str) -> float | None:
    """`exp` of a JWT in Unix seconds, not verified; None: it has none, or is none."""
    parts = credential.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, binascii.Error):
        return None
    expiry = claims.get("exp") if isinstance(claims, dict) else None
    return float(expiry) if isinstance(expiry, int | float) else None


class Credentials:
    """`given` is the application's; `can_fetch`: it has a function for new ones. Both missing: no AUTH is said."""

    def __init__(self, given: str | None, can_fetch: bool, margin_s: float) -> None:
        self.current = given
        self.can_fetch = can_fetch
        self._margin = margin_s
        self._used = False
        self.renew_at = _NEVER

    @property
    def missing(self) -> bool:
        """Whether one must be fetched before connecting."""
        return self.can_fetch and self.current is None

    def fetched(self, credential: str, now: float, unix_now: float) -> bool:
        """A new one, from now on; False: it is the old one."""
        is_new = credential != self.current
        if is_new:
            self.current, self._used = credential, False
        expiry = expiry_of(credential)
        if expiry is None:
            self.renew_at = _NEVER
        else:
            left = max(1.0, expiry - unix_now)
            self.renew_at = now + max(left - self._margin, left / 2)
        return is_new

    def accepted(self) -> None:
        """The gateway has taken it."""
        self._used = True

    def refused(self) -> bool:
        """Whether to try again with a new one: yes, unless the gateway has never taken this one."""
        again = self.can_fetch and self._used
        self.forget()
        return again

    def forget(self) -> None:
        """It is of no use any more."""
        if self.can_fetch:
            self.current, self.renew_at = None, _NEVER
