"""The CURVE keys with which the status service and wait-ready ask the router."""

from pathlib import Path

from services.key_files import read_key_pair
from services.sender import CurveKeys
from shared.errors import SettingsError
from shared.settings import Settings


def status_keys(settings: Settings) -> CurveKeys | None:
    """The keys to show, or None: the router wants none. Raises SettingsError that names the key file at fault."""
    if not settings.curve_server_key_file:
        return None
    if not settings.status_key_file:
        raise SettingsError("status_key_file", "must be set where curve_server_key_file is")
    router = read_key_pair("curve_server_key_file", Path(settings.curve_server_key_file))
    own = read_key_pair("status_key_file", Path(settings.status_key_file))
    return CurveKeys(router.public.encode(), own.public.encode(), own.secret.encode())
