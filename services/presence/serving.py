"""Composition of the presence service."""

import logging
import threading
import time

from services.library import Service
from services.presence.presences import PresenceTopic
from services.presence.readers import load_readers
from services.presence.streams import Stream
from services.storage.opening import open_storage
from shared.calls import Internal, internal
from shared.errors import SettingsError, StorageError
from shared.places import presence_path, presence_tcp_endpoint
from shared.settings import Settings

logger = logging.getLogger(__name__)

_THREADS = 4
_SWEEP_S = 1.0


def serve(settings: Settings, index: int) -> int:
    """Until SIGTERM; the exit status. Raises SettingsError, StorageError."""
    if index:
        raise SettingsError("services", "there is one presence service on a host")
    with open_storage(settings) as storage:
        storage.presences.renew(settings.presence_lease_ms, _unix_ms())
        stream = Stream(f"ipc://{presence_path(settings)}", presence_tcp_endpoint(settings), load_readers(settings))
        topic = PresenceTopic(storage, stream.publish, _unix_ms, stream.tell)
        service = Service("presence", settings, threads=_THREADS)
        service.answers(*internal(Internal.PRESENCE), idempotent=True)(topic.answer)
        ended = threading.Event()
        sweeper = threading.Thread(target=_sweep, args=(topic, settings.presence_lease_ms // 3, ended), name="sweep")
        sweeper.start()
        try:
            return service.run()
        finally:
            ended.set()
            sweeper.join()
            stream.close()


def _sweep(topic: PresenceTopic, grace_ms: int, ended: threading.Event) -> None:
    while not ended.wait(_SWEEP_S):
        try:
            topic.sweep(grace_ms)
        except StorageError as error:
            logger.warning("dead workers are not swept: %s", error)
        except Exception:
            logger.exception("internal error: dead workers are not swept")


def _unix_ms() -> int:
    return time.time_ns() // 1_000_000
