"""Who may subscribe: everybody, or whom a function of the deployment lets."""

from collections.abc import Callable
from importlib import import_module

from services.subscribe.requests import SubscribeRequest
from shared.errors import SettingsError
from shared.settings import Settings

#: What is wrong with a request, to be told to its client with status 403; None: nothing.
Policy = Callable[[SubscribeRequest], str | None]

_SETTING = "subscribe_policy"


def load_policy(settings: Settings) -> Policy:
    """What `subscribe_policy` names. Raises SettingsError."""
    said = settings.subscribe_policy
    if said == "open":
        return everybody
    module, colon, name = said.partition(":")
    if not colon or not module or not name:
        raise SettingsError(_SETTING, f"{said[:64]!r} is neither open nor MODULE:FUNCTION")
    try:
        function = getattr(import_module(module), name)
    except Exception as error:  # whatever its import leads to
        raise SettingsError(_SETTING, f"{said[:64]!r}: {error!r}") from None
    if not callable(function):
        raise SettingsError(_SETTING, f"{said[:64]!r} is no function")
    checked: Policy = function
    return checked


def everybody(request: SubscribeRequest) -> None:
    """Nothing is wrong."""
