"""Where the routers take services, and the CURVE keys to show them."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from services.key_files import read_key_pair
from services.sender import CurveKeys
from shared import places
from shared.errors import SettingsError
from shared.settings import Settings, is_loopback, split

Where = Settings | str | Sequence[str]


class Router(NamedTuple):
    """A service endpoint, and the keys for it; None: it wants none."""

    endpoint: str
    keys: CurveKeys | None = None


def routers(where: Where) -> list[Router]:
    """All of them. Raises SettingsError, ValueError: there are none."""
    if isinstance(where, Settings):
        found = [Router(endpoint, _keys(where, endpoint)) for endpoint in endpoints(where)]
    else:
        found = [Router(endpoint) for endpoint in ([where] if isinstance(where, str) else where)]
    if not found:
        raise ValueError("no service endpoint of a router is given")
    return found


def endpoints(settings: Settings) -> list[str]:
    """Those that `service_router_list` names, or those of this host. Raises SettingsError: there is none."""
    found = split(settings.service_router_list)
    found = found or [places.service_endpoint(settings, router) for router in range(settings.routers)]
    if not found:
        raise SettingsError("service_router_list", "must name routers: there is none on this host")
    return found


def _keys(settings: Settings, endpoint: str) -> CurveKeys | None:
    """Loopback and ipc want none."""
    if not endpoint.startswith("tcp://") or is_loopback(_host(endpoint)):
        return None
    if not settings.service_key_file:
        raise SettingsError("service_key_file", f"must be set: {endpoint} is not on this machine")
    own = read_key_pair("service_key_file", Path(settings.service_key_file))
    server = settings.bus_server_key
    if not server:
        if not settings.curve_server_key_file:
            raise SettingsError("bus_server_key", f"must be set: {endpoint} is not on this machine")
        server = read_key_pair("curve_server_key_file", Path(settings.curve_server_key_file)).public
    return CurveKeys(server.encode(), own.public.encode(), own.secret.encode())


def _host(endpoint: str) -> str:
    return endpoint.removeprefix("tcp://").rpartition(":")[0].removeprefix("[").removesuffix("]")
