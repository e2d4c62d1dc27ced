"""Composition of the login service."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgpack

from services.library import ClientCall, Service, Signal, refusal
from services.login.channels import LogChannel, WebhookChannel
from services.login.connects import Connects
from services.login.endings import Endings
from services.login.logins import Logins, Rules
from services.login.settings import credentials, demo_codes, load_keys, webhook
from services.storage.opening import open_storage
from services.token_owners import clearing
from shared.calls import Internal, internal
from shared.errors import SenderError, StorageUnavailable
from shared.settings import Settings

logger = logging.getLogger(__name__)

_THREADS = 8


def serve(settings: Settings, index: int) -> int:
    """Until SIGTERM; the exit status. Raises SettingsError."""
    keys, signing, url = load_keys(settings), credentials(settings), webhook(settings)
    rules = Rules(
        session_s=settings.login_session_s,
        code_ttl_s=settings.login_code_ttl_s,
        tries_max=settings.login_tries_max,
        codes_per_hour=settings.login_codes_per_hour,
        address_per_hour=settings.login_address_per_hour,
        demo_codes=demo_codes(settings),
    )
    with open_storage(settings) as storage:
        service = Service("login", settings, threads=_THREADS)
        clear = clearing(service, settings)
        logins = Logins(storage, keys, rules, WebhookChannel(url) if url else LogChannel(), signing)
        connects = Connects(storage, keys, clear)
        endings = Endings(storage, clear, partial(_kick, service))
        service.answers(Signal.CONNECT, 0, idempotent=True)(connects.connect)
        service.answers(Signal.DISCONNECT, 0, idempotent=True)(endings.disconnect)
        operations = _operations(
            login=logins.login,
            send_code=logins.send_code,
            sessions=endings.sessions,
            logout=endings.logout,
            block=endings.block,
        )
        service.answers(*internal(Internal.LOGIN))(operations)
        return service.run()


def _kick(service: Service, tokens: Sequence[str]) -> None:
    """Best effort: whoever is left over cannot come back."""
    try:
        service.sender.kick(tokens)
    except SenderError as error:
        logger.warning("clients whose sessions have ended could not be kicked: %s", error.message)


def _operations(**operations: Callable[[Mapping[str, Any]], dict[str, Any]]) -> Callable[[ClientCall], bytes]:
    """A handler for msgpack maps that name one of these as `op`."""

    def answer(call: ClientCall) -> bytes:
        fields = call.fields()
        operation = operations.get(str(fields.get("op")))
        if operation is None:
            raise refusal(400, f"op is none of {', '.join(operations)}")
        try:
            return bytes(msgpack.packb(operation(fields)))
        except StorageUnavailable as error:
            raise refusal(503, f"storage: {error}") from None

    return answer
