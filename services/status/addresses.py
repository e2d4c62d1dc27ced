"""Where this machine reaches what listens on an address of the settings. Pure."""

import ipaddress

from shared import places
from shared.settings import Settings


def reachable(host: str) -> str:
    """An address at which this machine reaches what listens on `host`."""
    if host in ("", "localhost"):
        return "127.0.0.1"
    address = ipaddress.ip_address(host)
    return ("::1" if address.version == 6 else "127.0.0.1") if address.is_unspecified else host


def reachable_endpoints(settings: Settings) -> list[str]:
    """Sender endpoints of this host's routers, as a sender on this machine connects to them; none without routers."""
    return [reachable_endpoint(settings, router) for router in range(settings.routers)]


def reachable_endpoint(settings: Settings, router: int) -> str:
    """That of one router, which may be one more than the settings say: the fleet may have been started with others."""
    host = settings.senders_listen_on
    return places.sender_endpoint(settings, router).replace(host, reachable(host))
