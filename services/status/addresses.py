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
    listened_on, host = settings.senders_listen_on, reachable(settings.senders_listen_on)
    endpoints = [places.sender_endpoint(settings, router) for router in range(settings.routers)]
    return [endpoint.replace(listened_on, host) for endpoint in endpoints]
