"""The services that come with the gateway: one table for `push-services run`, `make run` and whoever asks what runs.

A new one is a line here, a program in supervisord.conf and a section of docs/services.md; its Service has the same
name. Pure.
"""

from shared.errors import SettingsError
from shared.settings import Settings, split

#: Where `serve(settings, index)` is: it serves until SIGTERM and returns the exit status.
MODULES = {
    "subscribe": "services.subscribe.serving",
    "login": "services.login.serving",
    "group": "services.group.serving",
    "message-cache": "services.message_cache.serving",
    "presence": "services.presence.serving",
}
#: Of whose instances each has a part of the tokens; the setting says how many there are.
_BY_NUMBER = {"message-cache": "message_caches"}

#: No service that answers clients, so not one of these: it runs where `kafka_brokers` and `kafka_topics` are set.
KAFKA_BRIDGE = "kafka-bridge"
#: Answers no clients either: it runs where a webhook or Kafka is to have events.
EVENTS = "events"

_ALL = "all"


def chosen(settings: Settings) -> dict[str, int]:
    """How many processes of each service the fleet of this host has. Raises SettingsError (`services`)."""
    names = list(MODULES) if settings.services == _ALL else split(settings.services)
    for name in names:
        if name not in MODULES:
            raise SettingsError("services", f"{name[:64]!r} is none of {', '.join([_ALL, *MODULES])}")
    return {name: _count(settings, name) if name in names else 0 for name in MODULES}


def _count(settings: Settings, name: str) -> int:
    return int(getattr(settings, _BY_NUMBER[name])) if name in _BY_NUMBER else 1


def variables(settings: Settings) -> dict[str, str]:
    """These numbers for supervisord.conf, by variable: `FLEET_SUBSCRIBE`. Raises SettingsError."""
    counts = {**chosen(settings), KAFKA_BRIDGE: int(_has_bridge(settings)), EVENTS: int(settings.keeps_events)}
    return {f"FLEET_{name.upper().replace('-', '_')}": str(count) for name, count in counts.items()}


def in_words(settings: Settings) -> list[str]:
    """What runs, for people. Raises SettingsError."""
    counts = chosen(settings)
    services = [f"{name} service" if n == 1 else f"{n} {name} services" for name, n in counts.items() if n]
    bridge = ["Kafka bridge"] if _has_bridge(settings) else []
    return [*services, *(["events service"] if settings.keeps_events else []), *bridge]


def _has_bridge(settings: Settings) -> bool:
    return bool(settings.kafka_brokers and settings.kafka_topics)


def instance(name: str, index: int) -> str:
    """Name of one process, of its log and of its pid file."""
    return f"{name}-{index}" if name in _BY_NUMBER or index else name
