"""Composition of the events service."""

import logging
import threading
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from services.events.counters import Counters
from services.events.deliveries import Delivery
from services.events.receivers import Receiver
from services.events.signatures import read_secret
from services.events.streams import Stream
from services.events.tellings import TELLING, Tellings
from services.events.webhooks import Webhook
from services.library import Service
from services.storage.events import Outbox
from services.storage.opening import open_storage
from shared.calls import Internal, internal
from shared.errors import SettingsError, StorageError
from shared.settings import Settings

logger = logging.getLogger(__name__)

#: Seconds: between two looks at what waits; the longest wait for a batch at the end.
_LOOK_S, _LEAVE_S = 1.0, 5.0


def serve(settings: Settings) -> int:
    """Until SIGTERM; the exit status. Raises SettingsError, StorageError."""
    receivers = open_receivers(settings)
    with open_storage(settings) as storage:
        service = Service("events", settings)
        receivers.append(Stream(service.ask))
        names = [receiver.name for receiver in receivers]
        counters = Counters(names)
        service.tells(counters.figures)
        service.answers_batch(internal(Internal.EVENTS), idempotent=True, most=TELLING)(
            Tellings(storage.outbox, counters, unix_ms).answer
        )
        owner = settings.host_name
        deliveries = [Delivery(storage.outbox, one, names, owner, counters, unix_ms) for one in receivers]
        for delivery in deliveries:
            delivery.start()
        ended = threading.Event()
        looker = threading.Thread(target=_look, args=(storage.outbox, counters, deliveries, ended), name="look")
        looker.start()
        try:
            return service.run()
        finally:
            ended.set()
            for delivery in deliveries:
                delivery.stop(_LEAVE_S)
            looker.join()


def open_receivers(settings: Settings) -> list[Receiver]:
    """Those that the settings name. Raises SettingsError."""
    receivers: list[Receiver] = []
    if settings.event_webhook_url:
        secret = read_secret(Path(settings.event_webhook_secret_file))
        timeout_s, most = settings.event_webhook_timeout_s, settings.event_webhook_batch
        receivers.append(Webhook(settings.event_webhook_url, secret, timeout_s, most))
    if settings.kafka_events_topic:
        receivers.append(_open_topic(settings))
    return receivers


def _open_topic(settings: Settings) -> Receiver:
    try:
        topics = import_module("services.events.topics")
        options = import_module("services.kafka_bridge.options")
        said = import_module("services.kafka_bridge.serving").options_file(settings)
    except ModuleNotFoundError as error:
        if error.name != "confluent_kafka":
            raise
        raise SettingsError("kafka_brokers", "confluent-kafka is not installed: push-gateway[kafka]") from None
    topic: Receiver = topics.KafkaTopic(options.producer_options(settings, said), settings.kafka_events_topic)
    return topic


def _look(outbox: Outbox, counters: Counters, deliveries: Sequence[Delivery], ended: threading.Event) -> None:
    dropped = -1
    while not ended.wait(_LOOK_S):
        try:
            for delivery in deliveries:
                delivery.renew()
            dropped = _count(outbox, counters, dropped)
        except StorageError as error:
            logger.warning("the outbox cannot be read: %s", error)
        except Exception:  # without renewals leases would be lost
            logger.exception("internal error in the look at the outbox")


def _count(outbox: Outbox, counters: Counters, dropped: int) -> int:
    """`dropped`: what it returned the last time, -1 at first."""
    totals = outbox.totals()
    counters.holds(totals)
    if totals.dropped > dropped >= 0:
        logger.warning("%d events were dropped: events_max await confirmation", totals.dropped - dropped)
    return totals.dropped


def unix_ms() -> int:
    """Now."""
    return time.time_ns() // 1_000_000
