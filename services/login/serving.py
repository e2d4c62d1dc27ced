"""Composition of the login service."""

from collections.abc import Callable, Mapping
from typing import Any

import msgpack

from services.library import ClientCall, Service, Signal, refusal
from services.login.channels import LogChannel, WebhookChannel
from services.login.connects import Connects
from services.login.logins import Logins, Rules
from services.login.settings import credentials, demo_codes, load_keys, webhook
from services.storage.opening import open_storage
from shared.cached_messages import Clear, encode_operations, topic_of
from shared.calls import Internal, internal
from shared.errors import StorageUnavailable
from shared.settings import Settings

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

        def forget(token: str) -> None:
            topic = topic_of(token.encode(), settings.message_caches)
            service.ask_nowait(topic, encode_operations([Clear(token.encode())]), key=token, idempotent=True)

        logins = Logins(storage, keys, rules, WebhookChannel(url) if url else LogChannel(), signing)
        connects = Connects(storage, keys, forget)
        service.answers(Signal.CONNECT, 0, idempotent=True)(connects.connect)
        service.answers(Signal.DISCONNECT, 0, idempotent=True)(connects.disconnect)
        service.answers(*internal(Internal.LOGIN))(_operations(login=logins.login, send_code=logins.send_code))
        return service.run()


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
