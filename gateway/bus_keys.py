"""The CURVE keys with which a worker goes to routers of other hosts (docs/operations.md, section Keys)."""

import os
from pathlib import Path
from typing import NamedTuple

from shared.errors import SettingsError
from shared.keys import KeyPair, mode_fault, parse_key_pair
from shared.settings import Settings, is_loopback


class BusKeys(NamedTuple):
    """This worker's pair, and the public key of the routers."""

    own: KeyPair
    server: str


def needs_keys(endpoint: str) -> bool:
    """Whether what goes to a bus endpoint crosses a network."""
    if not endpoint.startswith("tcp://"):
        return False
    host = endpoint.removeprefix("tcp://").rpartition(":")[0]
    return not is_loopback(host.removeprefix("[").removesuffix("]"))


def load_bus_keys(settings: Settings, endpoints: list[str]) -> BusKeys | None:
    """The keys, or None if no endpoint needs them. Raises SettingsError."""
    if not any(map(needs_keys, endpoints)):
        return None
    own = _key_pair(settings, "worker_key_file")
    server = settings.bus_server_key
    if not server and not settings.curve_server_key_file:
        raise SettingsError("bus_server_key", "must be set, or curve_server_key_file: a router is not on this machine")
    return BusKeys(own, server or _key_pair(settings, "curve_server_key_file").public)


def _key_pair(settings: Settings, setting: str) -> KeyPair:
    path = getattr(settings, setting)
    try:
        with Path(path).open(encoding="utf-8") as file:
            fault = mode_fault(os.fstat(file.fileno()).st_mode)
            if fault:
                raise SettingsError(setting, f"{path}: {fault}")
            return parse_key_pair(setting, file.read())
    except OSError as error:
        raise SettingsError(setting, f"{path}: {(error.strerror or str(error)).lower()}") from None
    except UnicodeDecodeError:
        raise SettingsError(setting, f"{path}: not UTF-8") from None
