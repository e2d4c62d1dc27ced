"""What librdkafka is told: by the settings, by a file, and what the bridge needs to keep its promises. Pure."""

from collections.abc import Mapping

from shared.errors import SettingsError
from shared.requests import NAME_MAX_BYTES
from shared.settings import Settings

#: Period (ms) in which stored offsets are committed: what a killed bridge leaves is repeated from there.
_COMMIT_MS = 200
#: Kilobytes that librdkafka fetches ahead, of all partitions.
_AHEAD_KB = 16_384

_CONSUMER = {
    "enable.auto.commit": "true",
    "auto.commit.interval.ms": str(_COMMIT_MS),
    "enable.auto.offset.store": "false",
    "partition.assignment.strategy": "cooperative-sticky",
}
#: What a file may change.
_CONSUMER_DEFAULTS = {
    "auto.offset.reset": "earliest",
    "queued.max.messages.kbytes": str(_AHEAD_KB),
    "isolation.level": "read_committed",
    "session.timeout.ms": "10000",
    "heartbeat.interval.ms": "1000",
    "reconnect.backoff.max.ms": "2000",
}
_PRODUCER = {"enable.idempotence": "true", "acks": "all"}
_PRODUCER_DEFAULTS = {
    # Only the broker knows how large a record of a topic may be.
    "message.max.bytes": "1000000000",
    "message.timeout.ms": "30000",
    "linger.ms": "20",
    "reconnect.backoff.max.ms": "2000",
}
#: Said by settings, or decided here.
_OURS = {*_CONSUMER, *_PRODUCER, "bootstrap.servers", "group.id"}
#: Meant for one of the two; librdkafka warns of them at the other.
_CONSUMER_ONLY = ("auto.", "fetch.", "queued.", "session.", "heartbeat.", "max.poll.", "group.", "isolation.", "check.")
_PRODUCER_ONLY = (
    "message.timeout",
    "linger.",
    "batch.",
    "compression.",
    "queue.buffering.",
    "delivery.",
    "partitioner",
)


def parse_file(text: str) -> dict[str, str]:
    """`name = value` lines of a file; `#` begins a comment line. Raises SettingsError without any value."""
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        name, equals, value = (part.strip() for part in line.partition("="))
        if not equals or not name:
            raise SettingsError("kafka_options_file", f"line {number} is not NAME = VALUE")
        if name in _OURS:
            raise SettingsError("kafka_options_file", f"line {number}: {name} is the bridge's own")
        found[name] = value
    return found


def consumer_options(settings: Settings, said: Mapping[str, str]) -> dict[str, str]:
    """For the consumer."""
    own = {name: value for name, value in said.items() if not name.startswith(_PRODUCER_ONLY)}
    where = {"bootstrap.servers": settings.kafka_brokers, "group.id": settings.kafka_group}
    return {**_CONSUMER_DEFAULTS, **own, **_CONSUMER, **where}


def producer_options(settings: Settings, said: Mapping[str, str]) -> dict[str, str]:
    """For the producer of dead letters and outcomes."""
    own = {name: value for name, value in said.items() if not name.startswith(_CONSUMER_ONLY)}
    return {**_PRODUCER_DEFAULTS, **own, **_PRODUCER, "bootstrap.servers": settings.kafka_brokers}


def sender_name(settings: Settings) -> str:
    """The same for all bridges of a group, so that a router knows a record by its id whoever pushes it."""
    return f"kafka-{settings.kafka_group}".encode()[:NAME_MAX_BYTES].decode(errors="ignore")
