"""What the settings say about sessions: limits, who may subscribe, and what verifies credentials."""

from pathlib import Path
from typing import TYPE_CHECKING

from gateway.sessions import SessionLimits
from shared.errors import SettingsError
from shared.settings import Settings, split

if TYPE_CHECKING:
    from gateway.credentials import Verifier


def session_limits(settings: Settings) -> SessionLimits:
    """Settings that the session rules need."""
    return SessionLimits(
        body_bytes=settings.body_limit_bytes,
        heartbeat_min_s=settings.heartbeat_min_s,
        heartbeat_max_s=settings.heartbeat_max_s,
        heartbeat_texts=frozenset(text.encode() for text in split(settings.heartbeat_texts)),
        auth_required=settings.auth_required,
        open_subscribe=open_subscribe(settings),
        needs_subscribe_service=not open_subscribe(settings)
        and not {"all", "subscribe"}.isdisjoint(split(settings.services)),
    )


def open_subscribe(settings: Settings) -> bool:
    """Whether clients without login may name any uid and token: by default only while everything is on loopback."""
    return settings.subscribes_openly


def verifier(settings: Settings) -> "Verifier | None":
    """What verifies credentials; None: nothing is set up. Raises SettingsError (`auth_keys_file`)."""
    if not settings.auth_keys_file:
        return None
    from gateway.credentials import Verifier, load_keys  # noqa: PLC0415  (a quarter of a start, and few need it)

    try:
        text = Path(settings.auth_keys_file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError("auth_keys_file", str(error).lower()) from None
    return Verifier(load_keys(text), settings.auth_audience)
