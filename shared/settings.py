"""Every setting of every process, declared once: name, type, default, unit, bounds, help.

Sources, later ones win: defaults, the TOML file that `PUSH_CONFIG` names, `PUSH_<NAME>` variables.
"""

import ipaddress
import tomllib
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any

from shared.errors import SettingsError
from shared.keys import is_key
from shared.storage_locations import parse_location

PREFIX = "PUSH_"
CONFIG_KEY = "PUSH_CONFIG"


def _text(default: str, text: str, choices: tuple[str, ...] = ()) -> Any:
    return field(default=default, metadata={"help": text, "choices": choices})


def _whole(default: int, text: str, least: int, most: int) -> Any:
    return field(default=default, metadata={"help": text, "least": least, "most": most})


def _flag(default: bool, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True, slots=True)
class Settings:
    """Checked settings. Names end in their unit: `_s` seconds, `_ms` milliseconds, `_bytes`."""

    # where
    host: str = _text("127.0.0.1", "address to listen on, for clients and (unless sender_host says else) senders")
    host_name: str = _text("", "the `host` of worker names; empty: the machine's name")
    data_dir: str = _text("./var", "directory for sockets, logs and state; one per fleet")
    client_port: int = _whole(6789, "TCP port for clients of every protocol", 1, 65535)
    sender_port: int = _whole(6700, "TCP port of the router's sender endpoint", 1, 65535)
    sender_host: str = _text("", "address of the sender endpoint; empty: host")
    api_port: int = _whole(8080, "TCP port of the HTTP API: health, figures, logins and /v1", 1, 65535)
    api_host: str = _text("", "address of the HTTP API; empty: host")
    workers: int = _whole(2, "gateway workers on this host", 1, 1024)
    routers: int = _whole(1, "routers on this host; router i takes senders on sender_port + i", 0, 64)
    router_list: str = _text(
        "",
        "bus endpoints of the routers of all hosts (ipc://PATH or tcp://ADDRESS:PORT), in the order in which they"
        " decide, comma-separated; empty: those of this host",
    )
    bus_port: int = _whole(0, "TCP port on which router i (this + i) takes workers of other hosts; 0: none", 0, 65535)
    bus_host: str = _text("", "address of that port; empty: host")
    log_level: str = _text("INFO", "least level that is logged", ("DEBUG", "INFO", "WARNING", "ERROR"))
    log_format: str = _text("plain", "log lines as text, or one JSON object each", ("plain", "json"))
    log_connections: str = _text(
        "all",
        "which opens and closes of connections are logged: all, or closes out of the ordinary",
        ("all", "unusual"),
    )
    otel_endpoint: str = _text(
        "", "OTLP/HTTP collector of traces, such as http://127.0.0.1:4318; empty: OTEL_EXPORTER_OTLP_ENDPOINT, if set"
    )
    # clients: limits
    body_limit_bytes: int = _whole(1 << 20, "largest packet body or message, also inflated", 1024, 1 << 28)
    out_buffer_bytes: int = _whole(1 << 20, "most unsent output kept for one client", 4096, 1 << 28)
    slow_consumer_s: int = _whole(5, "how long a client may keep its out-buffer full before it is closed", 0, 3600)
    hello_timeout_s: int = _whole(10, "deadline for a connection's first whole packet or message", 1, 600)
    heartbeat_min_s: int = _whole(10, "shortest heartbeat deadline", 1, 86400)
    heartbeat_max_s: int = _whole(600, "longest heartbeat deadline, and the one before an interval is said", 1, 86400)
    client_bytes_per_s: int = _whole(2 << 20, "input accepted from one client per second", 1024, 1 << 30)
    client_packets_per_s: int = _whole(1000, "packets or messages accepted from one client per second", 1, 10**6)
    unacknowledged_max: int = _whole(64, "pushes to one client that may await its acknowledgement", 1, 65535)
    heartbeat_texts: str = _text("心跳内容,ping", "bare WebSocket texts that count as heartbeat, comma-separated")
    permessage_deflate: bool = _flag(True, "offer permessage-deflate (RFC 7692) to WebSocket clients")
    deflate_min_bytes: int = _whole(256, "messages shorter than this are sent uncompressed", 0, 1 << 28)
    websocket_origins: str = _text("", "permitted Origin values, comma-separated; empty: any")
    trusted_proxies: str = _text("", "networks whose PROXY protocol headers are believed, comma-separated")
    nginx_socket_group: str = _text("", "group that may connect to the nginx sockets; empty: the user's own")
    # clients: who may do what
    open_subscribe: str = _text(
        "auto", "without login SUB may name a uid and take a login's token; auto: on loopback", ("auto", "yes", "no")
    )
    auth_required: bool = _flag(False, "SUB needs a credential (AUTH) first")
    auth_keys_file: str = _text("", "JSON list of {kid, alg: HS256 or EdDSA, key} that verify credentials")
    auth_audience: str = _text("push-gateway", "`aud` that a credential must name")
    # HTTP API
    api_keys_file: str = _text("", "keys of the HTTP API (pushctl key); empty: state/api_keys.json in data_dir")
    api_connections_max: int = _whole(2048, "connections to the HTTP API at a time; over it: 503 at once", 8, 1_000_000)
    api_requests_max: int = _whole(512, "requests to the HTTP API under way at a time; over it: 503 at once", 1, 10**6)
    metrics_access: str = _text(
        "loopback",
        "who reads /metrics without a key: who is on this machine (loopback), nobody (key) or everybody (open)",
        ("loopback", "key", "open"),
    )
    # calls to services
    call_timeout_ms: int = _whole(5000, "longest wait for a service's answer", 100, 600_000)
    calls_max: int = _whole(32, "calls of one client that may await their answers; then it is not read", 1, 65535)
    worker_calls_max: int = _whole(10_000, "the same for all of a worker; over it: F4", 1, 10**6)
    protobuf_dir: str = _text("", "directory with a topics.json and *.binpb: topics whose bodies are protobuf")
    # services
    service_port: int = _whole(0, "TCP port on which router i (this + i) takes services; 0: none", 0, 65535)
    service_host: str = _text("", "address of that port; empty: host")
    service_heartbeat_ms: int = _whole(1000, "period of the heartbeat between services and router", 50, 60_000)
    service_timeout_ms: int = _whole(5000, "silence after which a service is dead", 200, 600_000)
    service_queue_max: int = _whole(10_000, "calls of one topic that wait for a service; over it: F4", 1, 10**6)
    services: str = _text("all", "services that `make run` starts on this host, comma-separated; all; empty: none")
    message_caches: int = _whole(1, "message caches, which share the tokens; the same on every host", 1, 63)
    service_router_list: str = _text(
        "", "service endpoints of the routers of all hosts, comma-separated; empty: those of this host"
    )
    subscribe_policy: str = _text("open", "who may subscribe: open, or MODULE:FUNCTION that decides (docs/services.md)")
    known_token_days: int = _whole(
        30, "days that a token without a user is known for pushes to all; 0: not at all", 0, 10_000
    )
    login_client_key: str = _text(
        "001122334455667778797a7b7c7d7e7f", "16 bytes in hex that clients have built in, for the token of a login"
    )
    login_secret_file: str = _text(
        "", "file of at least 32 bytes in hex that sign logins, the same on every host; empty: made in data_dir/state"
    )
    login_signing_key_file: str = _text(
        "", "JSON {kid, alg: HS256 or EdDSA, key}: logins get a credential for AUTH signed with it"
    )
    login_session_s: int = _whole(2_592_000, "how long a login is good; 0: for ever", 0, 10**9)
    login_channel: str = _text("log", "how codes are sent: log, or an http(s) URL to which they are posted")
    login_demo_codes: str = _text("", "MOBILE:CODE, comma-separated: numbers with a fixed code")
    login_code_ttl_s: int = _whole(300, "how long a code is good", 10, 86_400)
    login_tries_max: int = _whole(5, "codes that may be tried for one number in that time", 1, 10**6)
    login_codes_per_hour: int = _whole(5, "codes sent to one number in an hour", 1, 10**6)
    login_address_per_hour: int = _whole(100, "login requests of one address in an hour", 1, 10**9)
    contact_ttl_s: int = _whole(604_800, "how long a CONTACT is kept for a recipient who is away", 0, 10**9)
    # what services keep
    storage: str = _text(
        "sqlite",
        "where services keep things: sqlite (state in data_dir), redis://HOST:PORT/DB, rediss://... (TLS),"
        " redis-cluster://HOST:PORT,HOST:PORT, rediss-cluster://..., unix://PATH",
    )
    storage_durability: str = _text(
        "written",
        "what counts as kept: what is in memory, what outlives a kill -9, what outlives a power failure",
        ("memory", "written", "fsynced"),
    )
    cached_messages_max: int = _whole(1000, "messages kept for one token", 1, 10**6)
    cached_bytes_max: int = _whole(4 << 20, "bytes of the same, 128 for each message beside its payload", 1024, 1 << 32)
    cached_policy: str = _text(
        "drop_oldest",
        "what happens over these: the oldest of the sender that has the most there goes, or the newest is refused",
        ("drop_oldest", "refuse_newest"),
    )
    cached_total_bytes_max: int = _whole(
        4 << 30, "bytes of messages kept for all tokens; over it the newest is refused", 1 << 20, 1 << 44
    )
    presence_lease_ms: int = _whole(
        15_000, "silence of a worker after which its clients no longer count as connected", 3000, 600_000
    )
    presence_port: int = _whole(0, "TCP port on which it is published who comes and goes; 0: none", 0, 65535)
    presence_host: str = _text("", "address of that port; empty: host")
    # events
    event_webhook_url: str = _text("", "http(s) URL to which events are posted ; empty: none")
    event_webhook_secret_file: str = _text("", "file of 32 bytes or more, in any text, that sign these posts")
    event_webhook_timeout_s: int = _whole(10, "longest wait for the answer to one", 1, 300)
    event_webhook_batch: int = _whole(100, "events in one", 1, 1000)
    kafka_events_topic: str = _text("", "topic for events, at kafka_brokers; empty: none")
    event_kinds: str = _text("", "kinds of events that are kept for these two, comma-separated; empty: all")
    events_max: int = _whole(100_000, "events that await confirmation; over it the oldest go", 1000, 10**8)
    # Kafka
    kafka_brokers: str = _text("", "HOST:PORT of Kafka's brokers, comma-separated; empty: no Kafka bridge")
    kafka_topics: str = _text("", "topics whose records are pushed, comma-separated; one from ^ on is a pattern")
    kafka_group: str = _text("push-gateway", "consumer group of all bridges of the fleet")
    kafka_dead_letter_topic: str = _text(
        "", "topic for records that can never be pushed; empty: they are logged and passed over"
    )
    kafka_outcome_topic: str = _text("", "topic for the outcome of every record; empty: none")
    kafka_options_file: str = _text("", "NAME = VALUE lines for librdkafka, such as sasl.password")
    kafka_records_max: int = _whole(500, "records of one partition that a bridge has and has not committed", 1, 4000)
    kafka_bytes_max: int = _whole(16 << 20, "bytes of the same", 1024, 1 << 32)
    # moving
    held_pushes_max: int = _whole(10_000, "pushes a worker holds for clients that are on their way to it", 1, 10**6)
    held_bytes_max: int = _whole(32 << 20, "bytes of the same", 1024, 1 << 32)
    move_timeout_s: int = _whole(10, "longest wait for clients that are on their way", 1, 600)
    drain_timeout_s: int = _whole(30, "longest time a leaving worker takes to hand its clients over", 1, 3600)
    retry_after_ms: int = _whole(
        5000, "window over which disconnected clients are told to spread their return", 0, 10**7
    )
    # router
    max_frame_bytes: int = _whole(
        16 << 20, "largest frame a sender may send; a larger one ends its connection", 1 << 16, 1 << 30
    )
    max_targets: int = _whole(10_000, "targets in one request", 1, 65_535)
    pending_requests_max: int = _whole(10_000, "unanswered requests in the router; over it: FAIL1 overloaded", 1, 10**7)
    pending_bytes_max: int = _whole(64 << 20, "bytes of unanswered requests in the router", 1 << 16, 1 << 40)
    bus_window_batches: int = _whole(8, "batches under way to one worker; the rest waits and is coalesced", 1, 1000)
    worker_heartbeat_ms: int = _whole(1000, "period of the workers' heartbeat to the router", 50, 60_000)
    worker_timeout_ms: int = _whole(
        5000, "silence after which a worker is killed; after twice that its slots are others'", 200, 600_000
    )
    ring_settle_ms: int = _whole(1000, "how long a new router gathers workers before the first ring", 0, 60_000)
    repeat_window_s: int = _whole(600, "how long a finished request's `id` is remembered", 1, 86400)
    repeat_window_requests: int = _whole(4096, "finished requests remembered per sender name", 1, 10**6)
    repeat_bytes_max: int = _whole(128 << 20, "memory for what is remembered of finished requests", 1 << 16, 1 << 40)
    recent_messages_max: int = _whole(
        20_000, "pushes of late of which each router and worker can tell the hops (pushctl explain)", 0, 10**7
    )
    recent_bytes_max: int = _whole(4 << 20, "memory for these, of each router and worker", 0, 1 << 32)
    overload_hold_s: int = _whole(10, "how long go-back-N lasts when the refused request does not come again", 1, 600)
    router_memory_bytes: int = _whole(
        1 << 30, "resident memory over which the router reopens its sender endpoint", 1 << 26, 1 << 44
    )
    # keys
    curve_server_key_file: str = _text("", "this router's CURVE key pair (pushctl keygen makes one)")
    curve_permitted_file: str = _text("", "JSON {public key: [scopes]} of peers that may connect")
    status_key_file: str = _text("", "CURVE key pair that status service and wait-ready show to the router")
    worker_key_file: str = _text("", "CURVE key pair that workers show to routers of other hosts (scope worker)")
    bus_server_key: str = _text("", "public CURVE key of those routers; empty: that of curve_server_key_file")
    service_key_file: str = _text("", "CURVE key pair that services show to routers of other hosts (scope service)")

    @property
    def senders_listen_on(self) -> str:
        return self.sender_host or self.host

    @property
    def bus_listens_on(self) -> str:
        return self.bus_host or self.host

    @property
    def api_listens_on(self) -> str:
        return self.api_host or self.host

    @property
    def services_listen_on(self) -> str:
        return self.service_host or self.host

    @property
    def presence_listens_on(self) -> str:
        return self.presence_host or self.host

    @property
    def keeps_events(self) -> bool:
        """Whether anybody wants all events."""
        return bool(self.event_webhook_url or self.kafka_events_topic)

    @property
    def subscribes_openly(self) -> bool:
        """Whether clients without login may name any uid and token: by default only while all is on loopback."""
        if self.open_subscribe == "auto":
            return is_loopback(self.host) and is_loopback(self.senders_listen_on)
        return self.open_subscribe == "yes"


_FIELDS: dict[str, Field[Any]] = {entry.name: entry for entry in fields(Settings)}


def load(environ: Mapping[str, str], file_text: str = "", machine_name: str = "localhost") -> Settings:
    """Settings out of a TOML text and PUSH_* variables. Raises SettingsError that names the key."""
    values: dict[str, Any] = {}
    for key, value in _parse_file(file_text).items():
        if key not in _FIELDS:
            raise SettingsError(key, "unknown setting")
        values[key] = _checked(key, value)
    for key, text in environ.items():
        if key.startswith(PREFIX) and key != CONFIG_KEY:
            name = key.removeprefix(PREFIX).lower()
            if name not in _FIELDS or key != key.upper():
                raise SettingsError(key, "unknown setting")
            values[name] = _checked(name, _from_text(name, text), said=key)
    values["host_name"] = values.get("host_name") or machine_name
    settings = Settings(**values)
    _check_together(settings)
    return settings


def _parse_file(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(CONFIG_KEY, f"not TOML: {error}") from None


def _from_text(name: str, text: str) -> Any:
    kind: type = type(_FIELDS[name].default)
    if kind is bool:
        values = {
            "1": True,
            "true": True,
            "yes": True,
            "on": True,
            "0": False,
            "false": False,
            "no": False,
            "off": False,
        }
        return values.get(text.lower(), text)
    if kind is int:
        try:
            return int(text)
        except ValueError:
            return text
    return text


def _checked(name: str, value: Any, said: str = "") -> Any:
    entry, said = _FIELDS[name], said or name
    kind = type(entry.default)
    if type(value) is not kind:
        raise SettingsError(said, f"{value!r} is not {_KIND_NAMES[kind]}")
    if kind is int and not entry.metadata["least"] <= value <= entry.metadata["most"]:
        raise SettingsError(said, f"{value} is not from {entry.metadata['least']} to {entry.metadata['most']}")
    if entry.metadata.get("choices") and value not in entry.metadata["choices"]:
        raise SettingsError(said, f"{value!r} is none of {', '.join(entry.metadata['choices'])}")
    return value


_KIND_NAMES = {int: "a whole number", bool: "true or false", str: "text"}


def _check_together(settings: Settings) -> None:
    """Bounds that concern more than one setting, or the form of a text."""
    _check_address("host", settings.host)
    for key in ("sender_host", "bus_host", "service_host", "api_host", "presence_host"):
        if getattr(settings, key):
            _check_address(key, getattr(settings, key))
    if not settings.host_name.isprintable() or "/" in settings.host_name or len(settings.host_name.encode()) > 200:
        raise SettingsError("host_name", f"{settings.host_name[:64]!r} is not a host name")
    if settings.heartbeat_min_s > settings.heartbeat_max_s:
        raise SettingsError(
            "heartbeat_min_s", f"{settings.heartbeat_min_s} exceeds heartbeat_max_s {settings.heartbeat_max_s}"
        )
    _check_heartbeats("worker", settings.worker_heartbeat_ms, settings.worker_timeout_ms)
    _check_heartbeats("service", settings.service_heartbeat_ms, settings.service_timeout_ms)
    _check_ports(settings)
    if not settings.routers and not settings.router_list:
        raise SettingsError("routers", "0, and router_list names none elsewhere: nobody would route")
    if settings.auth_required and not settings.auth_keys_file:
        raise SettingsError("auth_required", "needs auth_keys_file")
    for endpoint in split(settings.router_list):
        _check_bus_endpoint(settings, endpoint)
    if settings.bus_server_key and not is_key(settings.bus_server_key):
        raise SettingsError("bus_server_key", "is not a key of 40 Z85 characters")
    parse_location(settings.storage)
    if settings.kafka_brokers and not split(settings.kafka_topics) and not settings.kafka_events_topic:
        raise SettingsError("kafka_topics", "names no topic, and kafka_brokers is set")
    _check_events(settings)
    for network in split(settings.trusted_proxies):
        try:
            ipaddress.ip_network(network)
        except ValueError as error:
            raise SettingsError("trusted_proxies", str(error)) from None


def _check_events(settings: Settings) -> None:
    if settings.kafka_events_topic and not settings.kafka_brokers:
        raise SettingsError("kafka_events_topic", "needs kafka_brokers")
    if settings.event_webhook_url and not settings.event_webhook_url.startswith(("http://", "https://")):
        raise SettingsError("event_webhook_url", "is no http or https URL")
    if settings.event_webhook_url and not settings.event_webhook_secret_file:
        raise SettingsError("event_webhook_url", "needs event_webhook_secret_file")


def _check_heartbeats(of: str, heartbeat_ms: int, timeout_ms: int) -> None:
    if timeout_ms < 2 * heartbeat_ms:
        raise SettingsError(f"{of}_timeout_ms", f"{timeout_ms} is less than two heartbeats of {heartbeat_ms}")


def _check_ports(settings: Settings) -> None:
    """Each port of the fleet is its own; router i has `sender_port`, `bus_port` and `service_port`, each + i."""
    routers = range(settings.routers)
    ports = [
        settings.client_port,
        settings.api_port,
        settings.sender_port,
        *(settings.sender_port + i for i in routers),
    ]
    ports = ports[:2] + sorted(set(ports[2:])) + [settings.bus_port + i for i in routers if settings.bus_port]
    ports += [settings.service_port + i for i in routers if settings.service_port]
    ports += [settings.presence_port] if settings.presence_port else []
    if len(set(ports)) < len(ports):
        names = "client_port, sender_port, bus_port, service_port, presence_port and api_port"
        raise SettingsError("client_port", f"{names} must differ")
    if max(ports) > 65_535:
        raise SettingsError("routers", f"port {max(ports)} of the last router exceeds 65535")


def _check_address(key: str, address: str) -> None:
    if address == "localhost":
        return
    try:
        ipaddress.ip_address(address)
    except ValueError:
        raise SettingsError(key, f"{address[:64]!r} is not an IP address") from None


def _check_bus_endpoint(settings: Settings, endpoint: str) -> None:
    """One of `router_list`. What crosses a network needs CURVE keys."""
    if endpoint.startswith("ipc://"):
        return
    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not endpoint.startswith("tcp://") or not port.isdecimal():
        raise SettingsError("router_list", f"{endpoint[:64]!r} is neither ipc://PATH nor tcp://ADDRESS:PORT")
    _check_address("router_list", host)
    if not is_loopback(host) and not settings.worker_key_file:
        raise SettingsError("router_list", f"{host} is not loopback: workers need worker_key_file to go there")


def split(text: str) -> list[str]:
    """The non-empty parts of a comma-separated setting."""
    return [part.strip() for part in text.split(",") if part.strip()]


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches an address (`localhost`, 127.0.0.0/8, ::1)."""
    return address == "localhost" or ipaddress.ip_address(address).is_loopback


def describe() -> list[tuple[str, str, str]]:
    """(name, default, help with bounds) of every setting, in the order declared."""
    return [(entry.name, str(entry.default), _help(entry)) for entry in _FIELDS.values()]


def _help(entry: Field[Any]) -> str:
    text = str(entry.metadata["help"])
    if "least" in entry.metadata:
        return f"{text} ({entry.metadata['least']}..{entry.metadata['most']})"
    if entry.metadata.get("choices"):
        return f"{text} ({', '.join(entry.metadata['choices'])})"
    return text
