"""CURVE key files, as senders on this machine read them."""

from pathlib import Path

from shared.errors import SettingsError
from shared.keys import KeyPair, mode_fault, parse_key_pair


def read_key_pair(setting: str, path: Path) -> KeyPair:
    """A key file. Raises SettingsError that names `setting`: unreadable, readable by others, or no key pair."""
    try:
        fault, text = mode_fault(path.stat().st_mode), path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else None
        raise SettingsError(setting, f"{path}: {(why or str(error)).lower()}") from None
    if fault:
        raise SettingsError(setting, f"{path}: {fault}")
    return parse_key_pair(setting, text)
