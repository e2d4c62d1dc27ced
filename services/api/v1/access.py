"""Who may do what: API keys with scopes, or an open API on loopback."""

import ipaddress
import logging
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

import flask

from services.api.key_files import SETTING, KeyFile, keys_path
from services.api.keys import find_key
from services.api.problems import Problem
from shared.errors import SettingsError
from shared.settings import Settings, is_loopback

logger = logging.getLogger(__name__)

F = TypeVar("F", bound=Callable[..., Any])

#: Attribute of a view function: the scope that it needs.
_SCOPE = "needed_scope"
#: Whether it takes query parameters.
_QUERY = "takes_query"


def needs(scope: str) -> Callable[[F], F]:
    """Has a route demand a key with this scope."""

    def mark(view: F) -> F:
        setattr(view, _SCOPE, scope)
        setattr(view, _QUERY, "query" in view.__annotations__)
        return view

    return mark


def security(scope: str) -> list[dict[str, list[str]]]:
    """The same for the specification."""
    return [{"key": [scope]}]


class Access:
    """Lets requests in. Without a file of keys everybody may do everything, if only this machine reaches the API."""

    def __init__(self, keys: KeyFile) -> None:
        self._keys = keys

    @property
    def is_open(self) -> bool:
        return self._keys.keys() is None

    def check(self) -> None:
        """The request at hand, before it is read. Raises Problem."""
        view = flask.current_app.view_functions.get(flask.request.endpoint or "")
        scope = getattr(view, _SCOPE, None)
        if scope is None:
            return
        headers = flask.request.headers
        shown = bearer(headers.get("Authorization", ""))
        flask.g.key_name = self.admit(shown, scope, headers.get("Host", ""), headers.get("Origin"))

    def admit(self, shown: str, scope: str, host: str, origin: str | None, *, of_page: bool = False) -> str:
        """The name of the key that is shown; empty: the API is open. Raises Problem.

        `of_page`: pages from elsewhere are refused, whatever they show.
        """
        keys = self._keys.keys()
        if keys is None:
            check_page(host, origin)
            return ""
        if of_page:
            _check_origin(host, origin)
        key = find_key(keys, shown)
        if key is None:
            raise Problem("unauthorized", "Authorization: Bearer KEY is missing or wrong", WWW_Authenticate="Bearer")
        if scope not in key.scopes:
            raise Problem("insufficient_scope", f"the key {key.name} has not the scope {scope}")
        return key.name


def check_query() -> None:
    """Query parameters where there are none. Those of routes that have some are looked at there. Raises Problem."""
    view = flask.current_app.view_functions.get(flask.request.endpoint or "")
    if flask.request.query_string and not getattr(view, _QUERY, True):
        raise Problem("invalid", "this path takes no query parameters", [])


def open_access(settings: Settings) -> Access:
    """Raises SettingsError: others than this machine reach the API, and there are no keys."""
    keys = KeyFile(keys_path(settings))
    if not keys.keys():
        if not is_loopback(settings.api_listens_on):
            raise SettingsError(
                SETTING,
                f"{keys.path} holds no key, and others reach {settings.api_listens_on}:"
                " make one (pushctl key create) or set api_host to 127.0.0.1",
            )
        if keys.keys() is None:
            logger.warning("the HTTP API is open: whoever is on this machine may use it (pushctl key create ends that)")
    return Access(keys)


def bearer(authorization: str) -> str:
    """The key in that header field; empty: there is none."""
    scheme, _, text = authorization.partition(" ")
    return text.strip() if scheme.lower() == "bearer" else ""


def check_page(host: str, origin: str | None) -> None:
    """An open API trusts its machine, but not the pages in its browsers, nor names that lead here. Raises Problem."""
    if not _is_here(_netloc(f"//{host}")[0]):
        raise Problem("foreign_page", f"Host is {host[:64]}: an open API is reached by localhost or an address")
    _check_origin(host, origin)


def _check_origin(host: str, origin: str | None) -> None:
    """Raises Problem."""
    if origin is not None and _netloc(origin)[1] != host:
        raise Problem("foreign_page", f"a page of {origin[:64]} may not use this API")


def _netloc(url: str) -> tuple[str, str]:
    """(host name, all of it) of a URL that may be anything."""
    try:
        parts = urlsplit(url)
        return parts.hostname or "", parts.netloc
    except ValueError:
        return "", ""


def _is_here(name: str) -> bool:
    if name == "localhost":
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
