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


def reachable_endpoint(settings: Settings) -> str:
    """The router's sender endpoint, as a sender on this machine connects to it."""
    listened_on, host = settings.senders_listen_on, reachable(settings.senders_listen_on)
    return places.sender_endpoint(settings).replace(listened_on, host)
