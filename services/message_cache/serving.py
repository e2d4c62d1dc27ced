"""Composition of a message cache."""

import logging
import threading
from collections.abc import Callable
from contextlib import ExitStack

from services.library import Service
from services.message_cache.caches import Cache
from services.message_cache.events import MessageEvents
from services.storage.events import ACKNOWLEDGED, EXPIRED, UNREACHED
from services.storage.messages_opening import open_messages
from services.storage.opening import keeping_of, open_storage
from shared.calls import Internal, internal
from shared.errors import SettingsError
from shared.settings import Settings

logger = logging.getLogger(__name__)

#: Calls in one transaction. Each has several operations already.
_MOST = 32
_SWEEP_S = 1.0
_COUNT_S = 5.0
_TELL_S = 60.0


def serve(settings: Settings, index: int) -> int:
    """Cache `index`, until SIGTERM; the exit status. Raises SettingsError, StorageError."""
    if index >= settings.message_caches:
        raise SettingsError("message_caches", f"{settings.message_caches}: there is no message cache {index}")
    with ExitStack() as stack:
        store = open_messages(settings)
        events = MessageEvents(store, stack.enter_context(open_storage(settings)).outbox) if keeps(settings) else None
        return _serve(settings, index, Cache(store, events=events))


def keeps(settings: Settings) -> bool:
    """Whether anybody wants events of messages. Raises SettingsError."""
    keeping = keeping_of(settings)
    return keeping.most > 0 and bool(keeping.kinds & {ACKNOWLEDGED, EXPIRED, UNREACHED})


def _serve(settings: Settings, index: int, cache: Cache) -> int:
    service = Service("message-cache", settings)
    service.tells(lambda: cache.counters)
    service.answers_batch(internal(Internal.MESSAGES + index), idempotent=True, most=_MOST)(cache.answer)
    ended = threading.Event()
    for seconds, do in ((_SWEEP_S, cache.sweep), (_COUNT_S, cache.count), (_TELL_S, _Teller(cache).tell)):
        threading.Thread(target=_every, args=(seconds, do, ended), name=do.__name__, daemon=True).start()
    try:
        return service.run()
    finally:
        ended.set()
        cache.close()


def _every(seconds: float, do: Callable[[], None], ended: threading.Event) -> None:
    while not ended.wait(seconds):
        try:
            do()
        except Exception:
            logger.exception("internal error beside the message cache")


class _Teller:
    """Logs the counters when they have changed."""

    def __init__(self, cache: Cache) -> None:
        self._cache, self._told = cache, ""

    def tell(self) -> None:
        said = self._cache.counters.told()
        if said != self._told:
            self._told = said
            logger.info("messages since the start: %s", said)
