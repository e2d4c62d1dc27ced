"""Composition of the subscribe service."""

import os

from services.library import Service
from services.storage.opening import open_storage
from services.subscribe.policies import load_policy
from services.subscribe.subscriptions import Subscriptions
from services.subscribe.tokens import TokenMaker
from services.token_owners import clearing
from shared.calls import Internal, internal
from shared.settings import Settings

_THREADS = 4


def serve(settings: Settings, index: int) -> int:
    """Until SIGTERM; the exit status. Raises SettingsError."""
    policy = load_policy(settings)
    with open_storage(settings) as storage:
        service = Service("subscribe", settings, threads=_THREADS)
        clear = clearing(service, settings)
        topics = Subscriptions(
            storage,
            TokenMaker(os.urandom),
            policy,
            settings.subscribes_openly,
            clear,
            known_s=settings.known_token_days * 86400.0,
            tells=settings.keeps_events,
        )
        service.answers(*internal(Internal.SUBSCRIBE), idempotent=True)(topics.subscribe)
        service.answers(*internal(Internal.MEMBERS), idempotent=True)(topics.members)
        service.answers(*internal(Internal.TOKENS), idempotent=True)(topics.tokens)
        service.answers(*internal(Internal.DEVICES))(topics.devices)
        return service.run()
