"""What the API asks of the login service, checked. Pure."""

import ipaddress
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from shared.tokens import encode_token

MOBILE = re.compile(r"\+?[0-9]{5,20}")
CODE = re.compile(r"[0-9]{4,10}")


class BadRequestError(ValueError):
    """What is wrong with a request, in words for whoever sent it."""


class LoginRequest(NamedTuple):
    """A user proves a mobile number by the code that was sent there."""

    mobile: str
    code: str
    client_identifier: str
    address: str


def parse_login(fields: Mapping[str, Any]) -> LoginRequest:
    """Raises BadRequestError."""
    mobile, code = parse_mobile(fields), _digits(fields.get("code"))
    if not CODE.fullmatch(code):
        raise BadRequestError("code is not of 4 to 10 digits")
    client_identifier = fields.get("clientId")
    if encode_token(client_identifier)[1]:
        raise BadRequestError("clientId is missing or malformed")
    return LoginRequest(mobile, code, str(client_identifier), str(fields.get("address") or ""))


def parse_mobile(fields: Mapping[str, Any]) -> str:
    """A mobile number, as text or number. Raises BadRequestError."""
    mobile = _digits(fields.get("mobile"))
    if not MOBILE.fullmatch(mobile):
        raise BadRequestError("mobile is not a number of 5 to 20 digits")
    return mobile


def rate_key(address: str) -> str:
    """What is limited as one address: of IPv6 the /64 network, all of which one customer has."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(ip, ipaddress.IPv6Address):
        return str(ip.ipv4_mapped or ipaddress.ip_network((ip, 64), strict=False))
    return str(ip)


def _digits(value: Any) -> str:
    """Clients in the field send numbers as numbers, or as text."""
    return str(value) if type(value) in (int, str) else ""
